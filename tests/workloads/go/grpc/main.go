// Command grpc asks over gRPC, all calls on one shared connection.
//
//	grpc front PORT NEXT     serves HTTP/1.1 and calls NEXT, twice side by side
//	grpc middle PORT NEXT    serves gRPC and calls NEXT: one call after the other, some side by side, streams of all kinds, some
//	                         given up, one behind the answer
//	grpc leaf PORT           serves gRPC
//
// With CERTIFICATE and KEY (files) gRPC is over TLS, else without. With WORKERS so many goroutines serve calls, one after the other.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// raw messages are bytes.
type raw struct{}

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "raw" }

var (
	certificate = os.Getenv("CERTIFICATE")
	conn        *grpc.ClientConn
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pause(number, salt int) {
	time.Sleep(time.Duration((number*7+salt*3)%5) * time.Millisecond)
}

// name is a method's: who is asked learns the number from it.
func name(method string, number int) string {
	return fmt.Sprintf("/calls/%s?id=%d", method, number)
}

func call(ctx context.Context, method string, number int) error {
	request, answer := []byte(method), []byte(nil)
	return conn.Invoke(ctx, name(method, number), &request, &answer)
}

// stream sends three messages while it receives the answers; another goroutine sends.
func stream(method string, number int) error {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(context.Background(), desc, name(method, number))
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		for at := 0; at < 3 && err == nil; at++ {
			pause(number, at)
			message := []byte("message")
			err = stream.SendMsg(&message)
		}
		stream.CloseSend()
		sent <- err
	}()
	for {
		var answer []byte
		if err := stream.RecvMsg(&answer); err == io.EOF {
			return <-sent
		} else if err != nil {
			return err
		}
	}
}

// together makes calls side by side.
func together(number int, methods ...string) error {
	problems := make(chan error, len(methods))
	var group sync.WaitGroup
	for at, method := range methods {
		group.Add(1)
		go func() {
			defer group.Done()
			pause(number, at)
			problems <- call(context.Background(), method, number)
		}()
	}
	group.Wait()
	for range methods {
		if err := <-problems; err != nil {
			return err
		}
	}
	return nil
}

func middle(number int) error {
	background := context.Background()
	pause(number, 1)
	if err := call(background, "a", number); err != nil {
		return err
	}
	if err := together(number, "b", "c", "d"); err != nil {
		return err
	}
	wait := time.Duration(number%3)*time.Millisecond + 200*time.Microsecond
	short, cancel := context.WithTimeout(background, wait)
	call(short, "cancelled", number)
	cancel()
	if err := stream("stream", number); err != nil {
		return err
	}
	go func() {
		pause(number, 4)
		time.Sleep(5 * time.Millisecond)
		call(background, "later", number)
	}()
	return call(background, "last", number)
}

// handle answers each message of a call, and calls on behind the last one.
func handle(serve func(int) error) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		asked, err := url.Parse(method)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		number, _ := strconv.Atoi(asked.Query().Get("id"))
		var last []byte
		for count := 0; ; count++ {
			var message []byte
			err := stream.RecvMsg(&message)
			if err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			if count > 0 {
				if err := stream.SendMsg(&last); err != nil {
					return err
				}
			}
			last = message
		}
		pause(number, len(method))
		if asked.Path != "/calls/other" {
			if err := serve(number); err != nil {
				fmt.Fprintln(os.Stderr, method, err)
				return status.Error(codes.Unavailable, err.Error())
			}
		}
		return stream.SendMsg(&last)
	}
}

func main() {
	role, port := os.Args[1], os.Args[2]
	client, server := insecure.NewCredentials(), insecure.NewCredentials()
	if certificate != "" {
		var err error
		client, err = credentials.NewClientTLSFromFile(certificate, "localhost")
		must(err)
		server, err = credentials.NewServerTLSFromFile(certificate, os.Getenv("KEY"))
		must(err)
	}
	if len(os.Args) > 3 {
		var err error
		conn, err = grpc.NewClient("127.0.0.1:"+os.Args[3], grpc.WithTransportCredentials(client),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		must(err)
	}
	if role == "front" {
		http.HandleFunc("/front", func(w http.ResponseWriter, r *http.Request) {
			number, _ := strconv.Atoi(r.URL.Query().Get("id"))
			if err := together(number, "middle", "other"); err != nil {
				fmt.Fprintln(os.Stderr, err)
				http.Error(w, err.Error(), 502)
				return
			}
			fmt.Fprintln(w, number)
		})
		must(http.ListenAndServe("127.0.0.1:"+port, nil))
	}
	serve := map[string]func(int) error{"middle": middle, "leaf": func(number int) error { return nil }}[role]
	workers, _ := strconv.ParseUint(os.Getenv("WORKERS"), 10, 32)
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	must(err)
	must(grpc.NewServer(grpc.Creds(server), grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(handle(serve)),
		grpc.NumStreamWorkers(uint32(workers))).Serve(listener))
}
