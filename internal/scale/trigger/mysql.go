package trigger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// newMySQL reads one number by a query, from MySQL or MariaDB, over one kept connection.
func newMySQL(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	address, err := mysqlAddressOf(v)
	if err != nil {
		return nil, err
	}
	database := v.Text("dbName")
	if given := v.Text("connectionString"); given != "" {
		database = given[strings.LastIndex(given, "/")+1:]
	}
	metric, err := c.metric("mysql-"+database, "queryValue", v.Float("queryValue"))
	if err != nil {
		return nil, err
	}
	r := &mysqlReader{mysqlAddress: address, query: v.Text("query"), dialer: c.Dialer, slot: make(chan *mysqlConn, 1)}
	r.slot <- nil
	activation := v.Float("activationQueryValue")
	p := c.probe(metric, v)
	p.free = r.close
	p.ask = func(ctx context.Context) (sample, error) {
		value, err := r.read(ctx)
		return sample{value: value, active: value > activation}, err
	}
	return p, nil
}

func mysqlAddressOf(v schema.Values) (mysqlAddress, error) {
	if given := v.Text("connectionString"); given != "" {
		return parseMySQLAddress(given)
	}
	return mysqlAddress{network: "tcp", address: net.JoinHostPort(v.Text("host"), v.Text("port")),
		user: v.Text("username"), password: v.Text("password"), database: v.Text("dbName")}, nil
}

// mysqlReader asks one query over and over.
type mysqlReader struct {
	mysqlAddress
	query  string
	dialer *Dialer
	// slot holds the one connection, nil before the first and after a broken one. Who takes it may ask and puts back what
	// the next one is to use; close takes it for good.
	slot chan *mysqlConn
}

func (r *mysqlReader) read(ctx context.Context) (float64, error) {
	select {
	case conn := <-r.slot:
		value, next, err := r.over(ctx, conn)
		r.slot <- next
		return value, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// over asks over a kept connection, or over a new one if there is none or it has ended since: servers and proxies end idle
// connections. It returns the connection to keep.
func (r *mysqlReader) over(ctx context.Context, conn *mysqlConn) (float64, *mysqlConn, error) {
	if conn != nil {
		value, err := conn.number(ctx, r.query)
		if !conn.broken || conn.wire.refused != nil || ctx.Err() != nil {
			return value, conn.kept(), err
		}
		conn.kept()
	}
	conn, err := r.connect(ctx)
	if err != nil {
		return 0, nil, err
	}
	value, err := conn.number(ctx, r.query)
	return value, conn.kept(), err
}

func (r *mysqlReader) close() error {
	if conn := <-r.slot; conn != nil {
		conn.quit()
	}
	return nil
}

func (r *mysqlReader) connect(ctx context.Context) (*mysqlConn, error) {
	conn, err := r.open(ctx, r.encrypted)
	if err != nil && r.encrypted && r.optional && lacksTLS(err) {
		return r.open(ctx, false)
	}
	return conn, err
}

// lacksTLS reports the client's error for a server without TLS; it has no type of its own.
func lacksTLS(err error) bool { return strings.Contains(err.Error(), "does not support TLS") }

func (r *mysqlReader) open(ctx context.Context, encrypted bool) (*mysqlConn, error) {
	raw, err := r.dial(ctx)
	if err != nil {
		return nil, cmp.Or(ctx.Err(), err)
	}
	c := &mysqlConn{wire: &mysqlWire{Conn: raw, cleartext: r.cleartext}}
	err = c.exchange(ctx, func() error {
		dialed := func(context.Context, string, string) (net.Conn, error) { return c.wire, nil }
		if c.Conn, err = client.ConnectWithDialer(ctx, r.network, r.address, r.user, r.password, r.database, dialed, r.options(encrypted)); err != nil {
			return err
		}
		c.wire.greeted, c.wire.greeting = true, nil
		return r.prepare(c.Conn)
	})
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func (r *mysqlReader) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.timeout, readLimit))
	defer cancel()
	if r.network == "unix" {
		return (&net.Dialer{}).DialContext(ctx, r.network, r.address)
	}
	return r.dialer.DialContext(ctx, r.network, r.address)
}

// mysqlCollation is one that every MySQL and MariaDB knows; the client's own is MySQL 8's.
const mysqlCollation = "utf8mb4_general_ci"

func (r *mysqlReader) options(encrypted bool) client.Option {
	return func(c *client.Conn) error {
		c.ReadTimeout, c.WriteTimeout = r.readTimeout, r.writeTimeout
		c.SetCapability(mysql.CLIENT_MULTI_RESULTS) // for stored procedures
		if r.statements {
			c.SetCapability(mysql.CLIENT_MULTI_STATEMENTS)
		}
		if encrypted {
			config, err := certificates{unsafe: r.unverified}.config()
			if err != nil {
				return err
			}
			config.ServerName = r.host()
			c.SetTLSConfig(config)
		}
		return c.SetCollation(mysqlCollation)
	}
}

func (r *mysqlReader) host() string {
	host, _, err := net.SplitHostPort(r.address)
	if err != nil {
		return ""
	}
	return host
}

// prepare gives the session its character set and variables.
func (r *mysqlReader) prepare(c *client.Conn) error {
	if err := r.setNames(c); err != nil {
		return err
	}
	if len(r.variables) == 0 {
		return nil
	}
	_, err := c.Execute("SET " + strings.Join(r.variables, ", "))
	return err
}

func (r *mysqlReader) setNames(c *client.Conn) error {
	if len(r.charsets) == 0 && r.collation != "" {
		_, err := c.Execute("SET collation_connection = " + r.collation)
		return err
	}
	var last error
	for _, charset := range r.charsets {
		statement := "SET NAMES " + charset
		if r.collation != "" {
			statement += " COLLATE " + r.collation
		}
		if _, last = c.Execute(statement); last == nil {
			return nil
		}
	}
	return last
}

// mysqlConn is one connection; one goroutine uses it at a time.
type mysqlConn struct {
	*client.Conn
	wire *mysqlWire
	// broken says that the connection cannot be used again.
	broken bool
}

// exchange runs what talks with the server: it ends with ctx, and an answer that makes no sense is an error.
func (c *mysqlConn) exchange(ctx context.Context, talk func() error) (err error) {
	c.wire.left, c.wire.refused = mysqlAnswer, nil
	end := context.AfterFunc(ctx, func() { _ = c.wire.Close() })
	defer func() {
		// The client takes packets to be well formed and indexes beyond the end of those that are not.
		if recover() != nil {
			err = errors.New("the server does not speak MySQL's protocol")
		}
		err = cmp.Or(c.wire.refused, err)
		if !end() {
			err = ctx.Err()
		}
		var said *mysql.MyError
		c.broken = err != nil && !errors.As(err, &said)
	}()
	return talk()
}

// number asks for the first column of the first row of the first result that has columns.
func (c *mysqlConn) number(ctx context.Context, query string) (float64, error) {
	var value float64
	var wrong error
	found := false
	err := c.exchange(ctx, func() error {
		var failed error
		_, err := c.ExecuteMultiple(query, func(result *mysql.Result, err error) {
			if err != nil {
				failed = err
				return
			}
			if !found && result.HasResultset() {
				found = true
				value, wrong = firstNumber(result.Resultset)
			}
		})
		return cmp.Or(err, failed)
	})
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, errNoRow
	}
	return value, wrong
}

// kept is the connection if it can be used again; otherwise it is closed and nil.
func (c *mysqlConn) kept() *mysqlConn {
	if !c.broken {
		return c
	}
	_ = c.wire.Close()
	return nil
}

// quit tells the server, so that it does not count the connection as lost.
func (c *mysqlConn) quit() {
	const patience = time.Second
	if c.wire.SetDeadline(time.Now().Add(patience)) == nil {
		_ = c.Quit()
	}
	_ = c.wire.Close()
}

// firstNumber reads the one number of a result.
func firstNumber(result *mysql.Resultset) (float64, error) {
	if columns := result.ColumnNumber(); columns != 1 {
		return 0, fmt.Errorf("the query gives %d columns; write it so that it gives one number", columns)
	}
	if result.RowNumber() == 0 {
		return 0, errNoRow
	}
	switch v := result.Values[0][0].Value().(type) {
	case nil:
		return 0, errNull
	case int64:
		return float64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		return v, nil
	case []byte: // DECIMAL, such as a SUM
		if number, err := strconv.ParseFloat(string(v), 64); err == nil {
			return number, nil
		}
	}
	return 0, errors.New("the query gives text; write it so that it gives one number")
}

const (
	// mysqlAnswer bounds what a server may send in one exchange, in bytes: one number is asked for.
	mysqlAnswer = 1 << 20
	// mysqlPlain is how a server asks for the password as it is.
	mysqlPlain = "mysql_clear_password"
)

// mysqlWire guards what comes from a server.
type mysqlWire struct {
	net.Conn
	// left is how many bytes may still come in this exchange.
	left int
	// cleartext allows servers to ask for the password as it is, which the client would give to any. What is asked inside of
	// TLS is not seen here, and allowed.
	cleartext bool
	// greeted ends the search of the greeting.
	greeted  bool
	greeting []byte
	// refused is why the connection was given up; the client keeps its text only.
	refused error
}

func (w *mysqlWire) Read(p []byte) (int, error) {
	if w.left <= 0 {
		w.refused = fmt.Errorf("the answer is larger than %d bytes; write the query so that it gives one number", mysqlAnswer)
		return 0, w.refused
	}
	n, err := w.Conn.Read(p[:min(len(p), w.left)])
	w.left -= n
	if w.greeted || w.cleartext {
		return n, err
	}
	w.greeting = append(w.greeting, p[:n]...)
	if bytes.Contains(w.greeting, []byte(mysqlPlain)) {
		w.refused = errors.New("the server asks for the password in plain text; allow it with allowCleartextPasswords=true")
		return 0, w.refused
	}
	return n, err
}
