// Command calls FILE asks itself from known lines, in many goroutines, until there is a file of that name.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

var address string

func check(err error) {
	if err != nil {
		panic(err)
	}
}

//go:noinline
func buy(number int) {
	answer, err := http.Get(fmt.Sprintf("http://%s/buy?id=%d", address, number)) // call: buy
	check(err)
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

//go:noinline
func stock(connection net.Conn, number int) {
	ask := fmt.Sprintf("GET /stock?id=%d HTTP/1.1\r\nHost: stock\r\n\r\n", number)
	_, err := connection.Write([]byte(ask)) // call: stock
	check(err)
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	check(err)
	io.Copy(io.Discard, answer.Body)
}

//go:noinline
func shop(worker int, file string) {
	connection, err := net.Dial("tcp", address)
	check(err)
	for number := worker; ; number += 64 {
		if _, err := os.Stat(file); err == nil {
			return
		}
		buy(number)
		stock(connection, number)
		time.Sleep(100 * time.Millisecond)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	address = listener.Addr().String()
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	var workers sync.WaitGroup
	for worker := range 64 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			shop(worker, os.Args[1])
		}()
	}
	workers.Wait()
}
