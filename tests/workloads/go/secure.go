// Command secure PORT CERTIFICATE KEY answers over TLS on localhost and asks NEXT (PORT/path), if set, over TLS with the same number.
// With PLAIN set it answers without TLS, with H2 it speaks HTTP/2, with CHOOSER set it asks that port in plain during each handshake. With ask before the port it asks that port COUNT times instead, eight requests at once.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	arguments := os.Args[1:]
	asks := arguments[0] == "ask"
	if asks {
		arguments = arguments[1:]
	}
	pem, err := os.ReadFile(arguments[1])
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	// A configuration of its own means HTTP/1.1 only, unless it is asked for more.
	second := os.Getenv("H2") != ""
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		MaxIdleConnsPerHost: 64,
		ForceAttemptHTTP2:   second,
	}
	client := &http.Client{Transport: transport}
	ask := func(port, path string, number int) int {
		answer, err := client.Get(fmt.Sprintf("https://localhost:%s/%s?id=%d", port, path, number))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 502
		}
		defer answer.Body.Close()
		io.Copy(io.Discard, answer.Body)
		return answer.StatusCode
	}
	if asks {
		// Clew looks at the program meanwhile.
		time.Sleep(time.Second)
		count, _ := strconv.Atoi(os.Getenv("COUNT"))
		numbers := make(chan int)
		var group sync.WaitGroup
		for range [8]bool{} {
			group.Add(1)
			go func() {
				defer group.Done()
				for number := range numbers {
					if ask(arguments[0], "front", number) != 200 {
						os.Exit(1)
					}
				}
			}()
		}
		for number := 1; number <= count; number++ {
			numbers <- number
		}
		close(numbers)
		group.Wait()
		return
	}
	next, path, _ := strings.Cut(os.Getenv("NEXT"), "/")
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		number, _ := strconv.Atoi(r.URL.Query().Get("id"))
		time.Sleep(time.Duration(number*7%5) * time.Millisecond)
		status := 200
		if next != "" {
			status = ask(next, path, number)
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "go %d\n", number)
	})
	server := &http.Server{Addr: "127.0.0.1:" + arguments[0]}
	if !second {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	if chooser := os.Getenv("CHOOSER"); chooser != "" {
		pair, _ := tls.LoadX509KeyPair(arguments[1], arguments[2])
		choose := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			connection, err := net.Dial("tcp", "127.0.0.1:"+chooser)
			if err != nil {
				return nil, err
			}
			defer connection.Close()
			fmt.Fprint(connection, "GET /chosen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			io.Copy(io.Discard, connection)
			return &pair, nil
		}
		server.TLSConfig = &tls.Config{GetCertificate: choose}
	}
	if os.Getenv("PLAIN") != "" {
		err = server.ListenAndServe()
	} else {
		err = server.ListenAndServeTLS(arguments[1], arguments[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
