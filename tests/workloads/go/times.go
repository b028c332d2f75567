// Requests whose goroutine spends known times in known ways: times.go.
//
// A server answers its client, one request after the other: the goroutine burns CPU time, also where others want the only processor of
// Go's scheduler, sleeps, waits for a mutex, a channel and another server's answer. The answer says how long that took, how much of it was
// CPU time, and how much time of CPUs interrupts and other machines took meanwhile, in nanoseconds. /many does all but burning in one request of many at once, and says how long each took.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
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

// had runs on whatever thread until it has had so much CPU time, by the clocks of its threads, which it asks all the time: where one jumps
// by more than half of what Go's scheduler gives a goroutine at once, others ran on it.
func had(much time.Duration) time.Duration {
	const most = 5 * time.Millisecond
	var had time.Duration
	for thread, before := syscall.Gettid(), threadTime(); had < much; {
		now, on := threadTime(), syscall.Gettid()
		if step := now - before; on == thread && step < most {
			had += step
		}
		thread, before = on, now
	}
	return had
}

// taken is how much time of CPUs interrupts and other machines have taken.
func taken() time.Duration {
	const tick = time.Second / 100
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		panic(err)
	}
	// cpu user nice system idle iowait irq softirq steal
	var sum time.Duration
	for _, ticks := range strings.Fields(string(stat))[6:9] {
		number, _ := strconv.Atoi(ticks)
		sum += time.Duration(number) * tick
	}
	return sum
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
	took := func(wait func()) time.Duration {
		begun := time.Now()
		wait()
		return time.Since(begun)
	}
	many := func() string {
		slept := took(func() { time.Sleep(spent / 4) })
		asked := took(func() { network(slow.Addr().String()) })
		waited := took(channel)
		return fmt.Sprintf("%d ns and %d ns and %d ns", slept, asked, waited)
	}
	ways := map[string]func() time.Duration{
		"warm":    func() time.Duration { time.Sleep(spent); return 0 },
		"burn":    burn,
		"contend": contend,
		"sleep":   func() time.Duration { time.Sleep(spent); return 0 },
		"mutex":   func() time.Duration { mutex(); return 0 },
		"channel": func() time.Duration { channel(); return 0 },
		"network": func() time.Duration { network(slow.Addr().String()); return 0 },
	}
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/many" {
			fmt.Fprint(w, many())
			return
		}
		before := taken()
		begun := time.Now()
		burned := ways[r.URL.Path[1:]]()
		took := time.Since(begun)
		fmt.Fprintf(w, "%d ns and %d ns and %d ns", took, burned, taken()-before)
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
	// Clew may still be looking for what the program is.
	for id := range [10]int{} {
		ask("warm", id)
	}
	for id, kind := range []string{"burn", "contend", "sleep", "mutex", "channel", "network"} {
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
