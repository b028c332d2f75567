// Command logs PORT writes two lines to stderr around a wait, the second by another goroutine, and one to stdout a request.
// For /panic it panics.
package main

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	out := slog.New(slog.NewTextHandler(os.Stdout, nil))
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.Atoi(r.URL.Query().Get("id"))
		log.Printf("INFO begin rid=%d password=hunter2", number)
		done := make(chan struct{})
		go func() {
			time.Sleep(time.Duration(number*7%5) * time.Millisecond)
			log.Printf("WARN fine rid=%d", number)
			close(done)
		}()
		<-done
		out.Info(fmt.Sprintf("end rid=%d", number), "path", r.URL.Path)
		fmt.Fprint(w, "ok")
	})
	http.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) {
		panic("no stock")
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
