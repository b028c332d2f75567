// Command stores PORT DSN REDIS serves on 127.0.0.1 with pools of connections to PostgreSQL, by pgx and by database/sql, and to
// Redis. What it does for a request tests/workloads/python/stores_asyncio.py tells. The pools have fewer connections than there are
// requests.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

var (
	pool     *pgxpool.Pool
	database *sql.DB
	cache    *redis.Client
)

func nap() {
	time.Sleep(time.Duration(rand.Intn(4000)) * time.Microsecond)
}

func change(ctx context.Context, name string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO items (name) VALUES ($1)", name); err != nil {
			return err
		}
		nap()
		var found string
		if err := tx.QueryRow(ctx, "SELECT name FROM items WHERE name = $1", name).Scan(&found); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE items SET name = name WHERE name = $1", name)
		return err
	})
}

func front(ctx context.Context, name string) error {
	if err := cache.Get(ctx, name).Err(); err != redis.Nil {
		return fmt.Errorf("%s is there: %w", name, err)
	}
	nap()
	if err := change(ctx, name); err != nil {
		return err
	}
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := database.ExecContext(within, "SELECT id FROM orders WHERE name = $1", name)
		return err
	})
	group.Go(func() error {
		_, err := pool.Exec(within, "SELECT id FROM parts WHERE name = $1", name)
		return err
	})
	group.Go(func() error { return cache.Incr(within, "count:"+name).Err() })
	if err := group.Wait(); err != nil {
		return err
	}
	nap()
	_, err := cache.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, name, "1", 0)
		pipe.Expire(ctx, name, 10*time.Minute)
		return nil
	})
	if err != nil {
		return err
	}
	_, err = database.ExecContext(ctx, "DELETE FROM items WHERE name = $1", name)
	return err
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx := context.Background()
	var words []string
	for _, word := range strings.Fields(os.Args[2]) {
		if !strings.HasPrefix(word, "gssencmode") {
			words = append(words, word)
		}
	}
	dsn := strings.Join(words, " ")
	config, err := pgxpool.ParseConfig(dsn)
	must(err)
	config.MinConns, config.MaxConns = 4, 4
	pool, err = pgxpool.NewWithConfig(ctx, config)
	must(err)
	database, err = sql.Open("postgres", dsn)
	must(err)
	database.SetMaxOpenConns(4)
	database.SetMaxIdleConns(4)
	cache = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Args[3], PoolSize: 4, PoolTimeout: time.Minute})
	for _, table := range []string{"orders", "parts"} {
		_, err = database.Exec("CREATE TABLE IF NOT EXISTS " + table + " (id serial, name text)")
		must(err)
	}
	http.HandleFunc("/front", func(w http.ResponseWriter, r *http.Request) {
		number := r.URL.Query().Get("id")
		if err := front(r.Context(), "id="+number); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "stores "+number+"\n")
	})
	must(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
