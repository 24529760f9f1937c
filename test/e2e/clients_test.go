package e2e

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	_ "github.com/lib/pq"
)

// A client commits rows to one engine, from outside of the machine.
type client struct {
	name  string
	acked int // the client saw the rows 1 to acked committed

	// open connects. The functions that it returns commit row n, count the rows, and close the connection.
	open func(ctx context.Context, g guest) (connection, error)
}

type connection interface {
	commit(ctx context.Context, n int) error
	count(ctx context.Context) (int, error)
	Close() error
}

// clients returns a client of each engine that keeps rows, by its name in the contract.
func clients() map[string]*client {
	return map[string]*client{
		"MariaDB":    {name: "MariaDB", open: openSQL("mysql", 3306, "app:"+password+"@tcp(ADDRESS)/shop?timeout=20s&readTimeout=60s", "?")},
		"PostgreSQL": {name: "PostgreSQL", open: openSQL("postgres", 5432, "postgres://app:"+password+"@ADDRESS/shop?sslmode=disable&connect_timeout=20", "$1")},
		"Redis":      {name: "Redis", open: openLines(6379, "RPUSH orders new", "LLEN orders")},
		"none":       {name: "none", open: openLines(9092, "APPEND", "COUNT")},
	}
}

// database is a connection to a server of SQL.
type database struct {
	*sql.DB
	insert string
}

func openSQL(driver string, port int, source, parameter string) func(context.Context, guest) (connection, error) {
	return func(ctx context.Context, g guest) (connection, error) {
		db, err := sql.Open(driver, strings.ReplaceAll(source, "ADDRESS", g.Addr(port)))
		if err != nil {
			return nil, err
		}
		if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS orders (id INT PRIMARY KEY)"); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		return database{db, "INSERT INTO orders VALUES (" + parameter + ")"}, nil
	}
}

func (d database) commit(ctx context.Context, n int) error {
	_, err := d.ExecContext(ctx, d.insert, n)
	return err
}

// count fails if a row between others is missing.
func (d database) count(ctx context.Context) (int, error) {
	var rows, highest int
	err := d.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(MAX(id), 0) FROM orders").Scan(&rows, &highest)
	if err == nil && rows != highest {
		err = fmt.Errorf("%d rows are there, up to row %d", rows, highest)
	}
	return rows, err
}

// lines is a connection to a server that answers a line with a line: the number of rows. Redis has a colon
// before the number.
type lines struct {
	net.Conn
	answers     *bufio.Reader
	append, ask string
}

func openLines(port int, add, ask string) func(context.Context, guest) (connection, error) {
	return func(ctx context.Context, g guest) (connection, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", g.Addr(port))
		if err != nil {
			return nil, err
		}
		return &lines{conn, bufio.NewReader(conn), add, ask}, nil
	}
}

func (l *lines) say(line string) (int, error) {
	if err := l.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(l, "%s\r\n", line); err != nil {
		return 0, err
	}
	answer, err := l.answers.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(answer, ":")))
}

func (l *lines) commit(_ context.Context, n int) error {
	rows, err := l.say(l.append)
	if err == nil && rows != n {
		err = fmt.Errorf("the answer to row %d is that there are %d", n, rows)
	}
	return err
}

func (l *lines) count(context.Context) (int, error) { return l.say(l.ask) }
