// Requests whose goroutine spends known times in known ways: times.go.
//
// A server answers its client, one request after the other: the goroutine burns CPU time, also where others want the only processor of
// Go's scheduler, sleeps, waits for a mutex, a channel and another server's answer. The answer says how long that took, and how much of
// it was CPU time, in nanoseconds. /many does all but burning in one request of many at once.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const spent = 200 * time.Millisecond

// burn keeps its thread until that has had so much CPU time, by the kernel's clock.
func burn() time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun := threadTime()
	for threadTime()-begun < spent {
	}
	return threadTime() - begun
}

func threadTime() time.Duration {
	const clockThreadCPUTime = 3
	var now syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPUTime, uintptr(unsafe.Pointer(&now)), 0)
	return time.Duration(now.Nano())
}

// had runs on whatever thread until it has had so much CPU time. It asks the clock all the time: where that jumps, others ran.
func had(much time.Duration) time.Duration {
	var had time.Duration
	for before := time.Now(); had < much; {
		now := time.Now()
		if step := now.Sub(before); step < 200*time.Microsecond {
			had += step
		}
		before = now
	}
	return had
}

func contend() time.Duration {
	processors := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(processors)
	done := make(chan struct{})
	for range [3]int{} {
		go func() {
			for {
				select {
				case <-done:
					return
				default:
				}
			}
		}()
	}
	defer close(done)
	return had(spent)
}

func mutex() {
	var held sync.Mutex
	begun := make(chan struct{})
	go func() {
		held.Lock()
		close(begun)
		time.Sleep(2 * spent)
		held.Unlock()
	}()
	<-begun
	held.Lock()
}

func channel() {
	told := make(chan int)
	go func() {
		time.Sleep(spent)
		told <- 1
	}()
	<-told
}

func network(slow string) {
	conn, err := net.Dial("tcp", slow)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /slow HTTP/1.1\r\nHost: slow.test\r\n\r\n")
	conn.Read(make([]byte, 4096))
}

func answerSlowly(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.Read(make([]byte, 4096))
			time.Sleep(spent)
			fmt.Fprintf(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}()
	}
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return listener
}

func main() {
	slow, own := listen(), listen()
	go answerSlowly(slow)
	ways := map[string]func() time.Duration{
		// Clew may still be looking for what the program is.
		"warm":    func() time.Duration { time.Sleep(spent); return 0 },
		"burn":    burn,
		"contend": contend,
		"sleep":   func() time.Duration { time.Sleep(spent); return 0 },
		"mutex":   func() time.Duration { mutex(); return 0 },
		"channel": func() time.Duration { channel(); return 0 },
		"network": func() time.Duration { network(slow.Addr().String()); return 0 },
		"many": func() time.Duration {
			time.Sleep(spent / 4)
			network(slow.Addr().String())
			channel()
			return 0
		},
	}
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		burned := ways[r.URL.Path[1:]]()
		fmt.Fprintf(w, "%d ns and %d ns", time.Since(begun), burned)
	})
	go http.Serve(own, server)
	ask := func(kind string, id int) {
		answer, err := http.Get(fmt.Sprintf("http://%s/%s?id=%d", own.Addr(), kind, id))
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	for id, kind := range []string{"warm", "burn", "contend", "sleep", "mutex", "channel", "network"} {
		ask(kind, id)
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	var all sync.WaitGroup
	for id := range [64]int{} {
		all.Add(1)
		go func() {
			defer all.Done()
			ask("many", id)
		}()
	}
	all.Wait()
}
