// Command h2c asks itself over HTTP/2 without TLS, COUNT requests, so many at once: h2c COUNT CONCURRENCY.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	count, _ := strconv.Atoi(os.Args[1])
	concurrency, _ := strconv.Atoi(os.Args[2])
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Number", r.URL.Query().Get("id"))
		w.WriteHeader(200 + len(body)%2*4)
		if len(body)%2 == 0 {
			fmt.Fprintf(w, "%d bytes", len(body))
		}
		w.Header().Set("X-Sum", strconv.Itoa(len(body)))
	})
	server := http.Server{Handler: handler, Protocols: &protocols}
	go server.Serve(listener)
	client := http.Client{Transport: &http.Transport{Protocols: &protocols}}
	url := fmt.Sprintf("http://%s/", listener.Addr())
	ask := func(number int) {
		body := bytes.Repeat([]byte("x"), number*37%50000)
		answer, err := client.Post(fmt.Sprintf("%sask?id=%d", url, number), "text/plain", bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.Header.Get("X-Number") != strconv.Itoa(number) {
			panic("another's answer")
		}
	}
	var workers sync.WaitGroup
	for worker := range concurrency {
		workers.Go(func() {
			for number := worker; number < count; number += concurrency {
				ask(number)
			}
		})
	}
	workers.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, "GET", url+"wait", nil)
	if _, err := client.Do(request); err == nil {
		panic("it should have been given up")
	}
	// What was given up is told to the server.
	time.Sleep(100 * time.Millisecond)
	server.Close()
}
