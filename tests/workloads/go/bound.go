// Command bound CERTIFICATE URL URL asks the first URL through crypto/tls and the second through OpenSSL, which it calls by cgo.
// It waits a second before, in which Clew looks at it.
package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

// The library is loaded as it is found, so that nothing of it is needed to build this.
static int ask(int descriptor, const char *question, char *answer, int room) {
	void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_GLOBAL);
	if (!library) library = dlopen("libssl.so.1.1", RTLD_NOW | RTLD_GLOBAL);
	if (!library) return -1;
	void *(*method)(void) = dlsym(library, "TLS_client_method");
	void *(*context)(void *) = dlsym(library, "SSL_CTX_new");
	void *(*make)(void *) = dlsym(library, "SSL_new");
	int (*set)(void *, int) = dlsym(library, "SSL_set_fd");
	int (*connected)(void *) = dlsym(library, "SSL_connect");
	int (*write)(void *, const void *, int) = dlsym(library, "SSL_write");
	int (*read)(void *, void *, int) = dlsym(library, "SSL_read");
	void *session = make(context(method()));
	if (!set(session, descriptor) || connected(session) != 1) return -2;
	if (write(session, question, (int)strlen(question)) <= 0) return -3;
	int total = 0;
	while (total < room) {
		int size = read(session, answer + total, room - total);
		if (size <= 0) break;
		total += size;
	}
	return total;
}
*/
import "C"

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unsafe"
)

func main() {
	pem, err := os.ReadFile(os.Args[1])
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	time.Sleep(time.Second)
	answer, err := client.Get(os.Args[2])
	check(err)
	_, err = io.Copy(io.Discard, answer.Body)
	check(err)
	answer.Body.Close()

	second, err := url.Parse(os.Args[3])
	check(err)
	conn, err := net.Dial("tcp", "127.0.0.1:"+second.Port())
	check(err)
	// A copy of the descriptor that blocks.
	file, err := conn.(*net.TCPConn).File()
	check(err)
	descriptor := C.int(file.Fd())
	question := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", second.RequestURI(), second.Host)
	text := C.CString(question)
	defer C.free(unsafe.Pointer(text))
	room := make([]byte, 1<<16)
	size := C.ask(descriptor, text, (*C.char)(unsafe.Pointer(&room[0])), C.int(len(room)))
	if size <= 0 || !strings.HasPrefix(string(room[:size]), "HTTP/1.1 200") {
		fmt.Fprintln(os.Stderr, "OpenSSL gave no answer:", size)
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
