// Command gin PORT serves on 127.0.0.1 with gin, and asks NEXT (PORT/anything) with the same number: a group of calls of which
// a few run at once, one that fails and takes the others of its group along, a line of goroutines made for the request, and calls
// that leave after the answer, at the ticks of timers.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"
)

var (
	client     = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	next, _, _ = strings.Cut(os.Getenv("NEXT"), "/")
)

func pause(number, salt int) {
	time.Sleep(time.Duration((number*7+salt*3)%5) * time.Millisecond)
}

func ask(ctx context.Context, path string, number int) error {
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

// grouped asks in a group that runs two at once, and collects what they say.
func grouped(ctx context.Context, number int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	said := make(chan string, 4)
	for at, path := range []string{"/g1", "/g2", "/g3", "/g4"} {
		group.Go(func() error {
			pause(number, at)
			err := ask(ctx, path, number)
			said <- path
			return err
		})
	}
	err := group.Wait()
	close(said)
	for range said {
	}
	return err
}

// failing asks in a group of which one member fails before the other has its answer.
func failing(ctx context.Context, number int) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		time.Sleep(time.Duration(number%3) * time.Millisecond)
		return fmt.Errorf("request %d fails", number)
	})
	group.Go(func() error { return ask(ctx, "/aborted", number) })
	group.Wait()
}

// line passes paths through three goroutines; the last asks.
func line(ctx context.Context, number int) error {
	paths, checked, problems := make(chan string), make(chan string, 1), make(chan error)
	go func() {
		defer close(checked)
		for path := range paths {
			pause(number, 2)
			checked <- path
		}
	}()
	go func() {
		defer close(problems)
		for path := range checked {
			problems <- ask(ctx, path, number)
		}
	}()
	go func() {
		defer close(paths)
		for _, path := range []string{"/l1", "/l2"} {
			paths <- path
		}
	}()
	for err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}

// afterwards asks when the request is over.
func afterwards(number int) {
	background := context.Background()
	select {
	case <-time.After(time.Duration(5+number%5) * time.Millisecond):
	case <-background.Done():
	}
	ask(background, "/after", number)
	ticker := time.NewTicker(3 * time.Millisecond)
	defer ticker.Stop()
	for tick := 0; tick < 2; tick++ {
		<-ticker.C
	}
	go func() { ask(background, "/ticked", number) }()
}

func front(c *gin.Context) {
	number, _ := strconv.Atoi(c.Query("id"))
	ctx := c.Request.Context()
	pause(number, 0)
	failing(ctx, number)
	for _, serve := range []func(context.Context, int) error{grouped, line} {
		if err := serve(ctx, number); err != nil {
			c.String(502, err.Error())
			return
		}
	}
	go afterwards(number)
	c.String(200, "%d\n", number)
}

func main() {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(gin.Recovery())
	engine.GET("/front", front)
	if err := engine.Run("127.0.0.1:" + os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
