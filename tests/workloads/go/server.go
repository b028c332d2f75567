// Command server PORT answers on 127.0.0.1. It asks NEXT (PORT/path), if set, with the same number.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	next := os.Getenv("NEXT")
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		number, _ := strconv.Atoi(r.URL.Query().Get("id"))
		// Makes requests overtake each other.
		time.Sleep(time.Duration(number*7%5) * time.Millisecond)
		status := 200
		if next != "" {
			port, path, _ := strings.Cut(next, "/")
			answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%s/%s?id=%d", port, path, number))
			if err != nil {
				status = 502
			} else {
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				status = answer.StatusCode
			}
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "go %d\n", number)
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
