// Command stock tells how many of a product there are: stock PORT.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

var stock = map[string]int{"ball-of-thread": 7, "lantern": 3, "map": 12}

func main() {
	http.HandleFunc("/stock/", func(w http.ResponseWriter, r *http.Request) {
		count, ok := stock[strings.TrimPrefix(r.URL.Path, "/stock/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, count)
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
