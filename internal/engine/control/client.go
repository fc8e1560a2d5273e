package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"

	"github.com/escale-dev/escale/internal/engine"
	"golang.org/x/sys/unix"
)

// ErrNotRunning says that no platform answers for a data directory.
var ErrNotRunning = errors.New("no platform runs here")

// Client asks the platform of one data directory.
type Client struct {
	dir  engine.Dir
	http *http.Client
}

// NewClient returns a client for the platform of dir. It connects when it is used.
func NewClient(dir engine.Dir) *Client {
	return &Client{dir: dir, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, dir) },
	}}}
}

// AddNode starts one more node and returns it when it is Ready.
func (c *Client) AddNode(ctx context.Context, want Node) (Node, error) {
	var got Node
	err := c.do(ctx, http.MethodPost, "/nodes", want, &got)
	return got, err
}

// RemoveNode stops a node for good.
func (c *Client) RemoveNode(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/nodes/"+url.PathEscape(name), nil, nil)
}

// LoginURL is the portal's address with a new one-time token.
func (c *Client) LoginURL(ctx context.Context) (string, error) {
	var l login
	err := c.do(ctx, http.MethodPost, "/logins", nil, &l)
	return l.URL, err
}

// View reads what the platform shows of itself under a name into out. The error is ErrNoView where it shows nothing.
func (c *Client) View(ctx context.Context, name string, query url.Values, out any) error {
	return c.do(ctx, http.MethodGet, "/views/"+url.PathEscape(name)+"?"+query.Encode(), nil, out)
}

// do sends one request. The error is ErrNotRunning where nobody listens, an fs.ErrPermission where this user may not
// ask, else what the platform said.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://platform"+path, &body)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", c.dir, ErrNotRunning)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the platform of %q is another user's: %w", c.dir, fs.ErrPermission)
	}
	if err != nil {
		return fmt.Errorf("asking the platform of %q: %w", c.dir, err)
	}
	defer resp.Body.Close()
	return read(resp, out)
}

// maxAnswer is far more than any answer has.
const maxAnswer = 16 << 20

func read(resp *http.Response, out any) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the platform's answer: %w", err)
	}
	if resp.StatusCode == http.StatusNotFound {
		return ErrNoView
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var f failure
		if err := json.Unmarshal(b, &f); err != nil || f.Error == "" {
			return fmt.Errorf("the platform answered %s", resp.Status)
		}
		return errors.New(f.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("reading the platform's answer: %w", err)
	}
	return nil
}
