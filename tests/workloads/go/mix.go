// Command mix PORT serves on 127.0.0.1 and asks NEXT (PORT/anything) with the same number, in the manner of the request's path:
//
//	/front   one call after the other, some side by side under a limit all requests share, one given up, one refused, and
//	         one that leaves after the answer
//	/eager   through workers that were there before any request
//	/lazy    through workers that requests start when there are too few, and that stay
//	/relay   through a goroutine that passes requests on to workers
//	/rounds  side by side, each several times, with buffers that all share by a channel
//	/clerk   side by side, each several times, after a question that one goroutine answers when it has the next one
//	/crowded over connections that calls wait for while others give up, which give the ones they got to those that wait
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type job struct {
	number int
	path   string
	done   chan error
}

var (
	client     = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	next, _, _ = strings.Cut(os.Getenv("NEXT"), "/")
	crowd      = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	limit      = make(chan bool, 24)
	eager      = make(chan *job)
	relayed    = make(chan *job, 64)
	inbox      = make(chan *job, 16)
	lazy       = make(chan *job)
	buffers    = make(chan *bytes.Buffer, 6)
	questions  = make(chan chan int)
)

func pause(number, salt int) {
	time.Sleep(time.Duration((number*7+salt*3)%5) * time.Millisecond)
}

func ask(ctx context.Context, path string, number int) error {
	return askWith(client, ctx, path, number)
}

func askWith(client *http.Client, ctx context.Context, path string, number int) error {
	url := fmt.Sprintf("http://127.0.0.1:%s%s?id=%d", next, path, number)
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func work(jobs chan *job) {
	for one := range jobs {
		pause(one.number, 1)
		one.done <- ask(context.Background(), one.path, one.number)
	}
}

func relay() {
	for {
		select {
		case one := <-inbox:
			relayed <- one
		case <-time.After(time.Second):
		}
	}
}

func mixed(number int) error {
	background := context.Background()
	if err := ask(background, "/a", number); err != nil {
		return err
	}
	var group sync.WaitGroup
	problems := make(chan error, 2)
	for at, path := range []string{"/b", "/c"} {
		group.Add(1)
		go func(at int, path string) {
			defer group.Done()
			limit <- true
			defer func() { <-limit }()
			pause(number, at)
			problems <- ask(background, path, number)
		}(at, path)
	}
	short, cancel := context.WithTimeout(background, time.Duration(number%3)*time.Millisecond+200*time.Microsecond)
	ask(short, "/cancelled", number)
	cancel()
	if refused, err := client.Get("http://127.0.0.1:1/"); err == nil {
		refused.Body.Close()
	}
	group.Wait()
	for at := 0; at < 2; at++ {
		if err := <-problems; err != nil {
			return err
		}
	}
	if err := ask(background, "/last", number); err != nil {
		return err
	}
	go func() {
		pause(number, 4)
		time.Sleep(5 * time.Millisecond)
		ask(background, "/later", number)
	}()
	return nil
}

func crowded(number int) error {
	paths := []string{"/w", "/x", "/y", "/z"}
	done := make(chan error, len(paths))
	for at, path := range paths {
		go func(at int, path string) {
			for more, left := range []string{"-gone", "-left"} {
				wait := time.Duration((number*7+at*3+more*5)%23) * 100 * time.Microsecond
				short, cancel := context.WithTimeout(context.Background(), wait)
				askWith(crowd, short, path+left, number)
				cancel()
			}
			done <- askWith(crowd, context.Background(), path, number)
		}(at, path)
	}
	for range paths {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

func borrow(path string, number, round int) error {
	buffer := <-buffers
	defer func() { buffers <- buffer }()
	buffer.Reset()
	buffer.WriteString(path + strconv.Itoa(round))
	pause(number, round)
	return ask(context.Background(), buffer.String(), number)
}

func answer() {
	var held chan int
	for {
		select {
		case next := <-questions:
			if held != nil {
				held <- 1
			}
			held = next
		case <-time.After(2 * time.Millisecond):
			if held != nil {
				held <- 1
				held = nil
			}
		}
	}
}

func inquire(path string, number, round int) error {
	one := make(chan int)
	questions <- one
	<-one
	return ask(context.Background(), path+strconv.Itoa(round), number)
}

// thrice does it three times in each of two goroutines.
func thrice(do func(path string, number, round int) error, number int) error {
	done := make(chan error, 2)
	for _, path := range []string{"/m", "/n"} {
		go func(path string) {
			var err error
			for round := 0; round < 3 && err == nil; round++ {
				err = do(path, number, round)
			}
			done <- err
		}(path)
	}
	for at := 0; at < 2; at++ {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

func main() {
	for at := 0; at < cap(buffers); at++ {
		buffers <- new(bytes.Buffer)
	}
	for at := 0; at < 8; at++ {
		go work(eager)
		go work(relayed)
	}
	go relay()
	go answer()
	handle := func(path string, serve func(number int) error) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			number, _ := strconv.Atoi(r.URL.Query().Get("id"))
			pause(number, 0)
			if err := serve(number); err != nil {
				http.Error(w, err.Error(), 502)
				return
			}
			fmt.Fprintln(w, number)
		})
	}
	through := func(jobs chan *job) func(int) error {
		return func(number int) error {
			one := &job{number, "/job", make(chan error, 1)}
			jobs <- one
			return <-one.done
		}
	}
	handle("/front", mixed)
	handle("/crowded", crowded)
	handle("/rounds", func(number int) error { return thrice(borrow, number) })
	handle("/clerk", func(number int) error { return thrice(inquire, number) })
	handle("/eager", through(eager))
	handle("/relay", through(inbox))
	handle("/lazy", func(number int) error {
		one := &job{number, "/job", make(chan error, 1)}
		select {
		case lazy <- one:
		default:
			select {
			case workers <- struct{}{}:
				go work(lazy)
			default:
			}
			lazy <- one
		}
		return <-one.done
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var workers = make(chan struct{}, 12)
