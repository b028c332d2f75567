// Command h2 asks over HTTP/2, all requests on shared connections.
//
//	h2 front PORT NEXT     serves HTTP/1.1 and asks NEXT, twice side by side
//	h2 middle PORT NEXT    serves HTTP/2 and asks NEXT: one call after the other, some side by side, some given up, one behind the
//	                       answer, one with a long body
//	h2 leaf PORT           serves HTTP/2
//
// With CERTIFICATE and KEY (files) HTTP/2 is over TLS, else without.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	certificate = os.Getenv("CERTIFICATE")
	client      = &http.Client{Transport: transport()}
	next        string
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// unencrypted lets a server or a transport speak HTTP/2 without TLS. The field came with Go 1.24.
func unencrypted(of any) {
	field := reflect.ValueOf(of).Elem().FieldByName("Protocols")
	protocols := reflect.New(field.Type().Elem())
	protocols.MethodByName("SetUnencryptedHTTP2").Call([]reflect.Value{reflect.ValueOf(true)})
	field.Set(protocols)
}

func transport() *http.Transport {
	transport := &http.Transport{ForceAttemptHTTP2: true}
	if certificate == "" {
		unencrypted(transport)
		return transport
	}
	pem, err := os.ReadFile(certificate)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return transport
}

func pause(number, salt int) {
	time.Sleep(time.Duration((number*7+salt*3)%5) * time.Millisecond)
}

func ask(ctx context.Context, path string, number int, body string) error {
	scheme := "https"
	if certificate == "" {
		scheme = "http"
	}
	url := fmt.Sprintf("%s://127.0.0.1:%s%s?id=%d", scheme, next, path, number)
	request, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.ProtoMajor != 2 {
		return fmt.Errorf("%s was asked over %s", path, answer.Proto)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// together asks for all paths side by side.
func together(number int, paths ...string) error {
	problems := make(chan error, len(paths))
	var group sync.WaitGroup
	for at, path := range paths {
		group.Add(1)
		go func(at int, path string) {
			defer group.Done()
			pause(number, at)
			problems <- ask(context.Background(), path, number, "")
		}(at, path)
	}
	group.Wait()
	for range paths {
		if err := <-problems; err != nil {
			return err
		}
	}
	return nil
}

func middle(number int) error {
	background := context.Background()
	pause(number, 1)
	if err := ask(background, "/a", number, "x"); err != nil {
		return err
	}
	if err := together(number, "/b", "/c", "/d"); err != nil {
		return err
	}
	wait := time.Duration(number%3)*time.Millisecond + 200*time.Microsecond
	short, cancel := context.WithTimeout(background, wait)
	ask(short, "/cancelled", number, "")
	cancel()
	if err := ask(background, "/long", number, strings.Repeat("z", number*37%50_000)); err != nil {
		return err
	}
	go func() {
		pause(number, 4)
		time.Sleep(5 * time.Millisecond)
		ask(background, "/later", number, "")
	}()
	return nil
}

func main() {
	role, port := os.Args[1], os.Args[2]
	if len(os.Args) > 3 {
		next = os.Args[3]
	}
	serve := map[string]func(int) error{
		"front":  func(number int) error { return together(number, "/middle", "/other") },
		"middle": middle,
		"leaf":   func(number int) error { return nil },
	}[role]
	handle := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		number, _ := strconv.Atoi(r.URL.Query().Get("id"))
		pause(number, len(r.URL.Path))
		if r.URL.Path != "/other" {
			if err := serve(number); err != nil {
				fmt.Fprintln(os.Stderr, role, err)
				http.Error(w, err.Error(), 502)
				return
			}
		}
		fmt.Fprintln(w, number)
	}
	server := &http.Server{Addr: "127.0.0.1:" + port, Handler: http.HandlerFunc(handle)}
	if role == "front" {
		must(server.ListenAndServe())
	} else if certificate == "" {
		unencrypted(server)
		must(server.ListenAndServe())
	}
	must(server.ListenAndServeTLS(certificate, os.Getenv("KEY")))
}
