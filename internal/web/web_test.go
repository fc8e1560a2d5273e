package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
)

// door is a server with a page, an action and a stream, and a client that keeps cookies but follows no redirects.
type door struct {
	*Server
	t       *testing.T
	dir     string
	client  *http.Client
	changes chan struct{}
	view    atomic.Pointer[testView]
	acts    int
}

type testView struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

func (testView) Title() string { return "A page" }

var testPage = template.Must(Parse(fstest.MapFS{"page.html": &fstest.MapFile{Data: []byte(
	`{{define "page"}}{{template "live-name" .}}{{template "live-age" .}}{{end}}` +
		`{{define "live-name"}}<p id="name">{{.Name}}</p>{{end}}{{define "live-age"}}<p id="age">{{age .At}}</p>{{end}}`,
)}}, "page.html"), nil)

func newDoor(t *testing.T, dir string) *door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, dir: dir, changes: make(chan struct{})}
	d.view.Store(&testView{Name: "one <b>", At: time.Now().Add(-time.Hour)})
	d.client = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	d.Server, err = New(Config{Listener: listener, Dir: dir, Hosts: []string{"portal.example.com"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	d.addPages()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *door) addPages() {
	d.Section("Pages", "/")
	d.Page("/{$}", Page{Section: "/", Template: testPage,
		View:    func(*http.Request) (View, error) { return *d.view.Load(), nil },
		Changes: func(context.Context) <-chan struct{} { return d.changes },
	})
	d.Page("/missing", Page{Template: testPage, View: func(*http.Request) (View, error) { return nil, NotFound("It is gone.", "Look elsewhere.") }})
	d.Page("/broken", Page{Template: testPage, View: func(*http.Request) (View, error) { return nil, errors.New("no cache") }})
	d.Action("/act", func(*http.Request) (Done, error) {
		d.acts++
		return Done{Message: "Done.", Page: "/"}, nil
	})
}

// answer is a response without its body.
type answer struct {
	StatusCode int
	Status     string
	Header     http.Header
	cookies    []*http.Cookie
}

// ask sends a request with headers "Name: value" and returns the answer and its body.
func (d *door) ask(method, path string, headers ...string) (answer, string) {
	d.t.Helper()
	target := path
	if !strings.HasPrefix(path, "http") {
		target = d.URL() + path
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, target, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Status, resp.Header, resp.Cookies()}, string(body)
}

func (d *door) logIn() {
	d.t.Helper()
	if resp, body := d.ask("GET", d.LoginURL()); resp.StatusCode != http.StatusSeeOther {
		d.t.Fatalf("login: %s: %s", resp.Status, body)
	}
}

func TestTokenWorksOnce(t *testing.T) {
	d := newDoor(t, t.TempDir())
	login := d.LoginURL()
	resp, _ := d.ask("GET", login)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" {
		t.Fatalf("first use: %s to %q", resp.Status, resp.Header.Get("Location"))
	}
	c := resp.cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || len(c.Value) < 43 {
		t.Errorf("cookie: %v", c)
	}
	if resp, _ := d.ask("GET", "/"); resp.StatusCode != http.StatusOK {
		t.Errorf("with the session: %s", resp.Status)
	}
	if resp, body := d.ask("GET", login, "Accept: text/html"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "used already") {
		t.Errorf("second use: %s", resp.Status)
	}
}

func TestWithoutSession(t *testing.T) {
	for _, c := range []struct {
		name, path string
		headers    []string
		code       int
		want       string
	}{
		{"page for a person", "/", []string{"Accept: text/html"}, 401, "escale open"},
		{"page for a script", "/", []string{"Accept: application/json"}, 401, `"message": "You are not logged in."`},
		{"stream", "/", []string{"Accept: text/event-stream"}, 401, "not logged in"},
		{"page that is not there", "/nowhere", nil, 401, "not logged in"},
		{"wrong token", "/login?token=guess", []string{"Accept: text/html"}, 401, "not of this platform"},
		{"no token", "/login", []string{"Accept: text/html"}, 401, "paste the token"},
		{"someone else's cookie", "/", []string{"Cookie: " + CookieName + "=guess"}, 401, "not logged in"},
		{"health", "/healthz", nil, 200, "ok"},
		{"style", assets["style.css"], nil, 200, "--paper"},
		{"unknown asset", "/assets/secret", nil, 404, ""},
		{"a link in a chat", "/?q=x", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 200, `content="0;url=/?q=x"`},
		{"a link in a chat, after loading again", "/", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Accept: text/html"}, 401, "escale open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDoor(t, t.TempDir())
			resp, body := d.ask("GET", c.path, c.headers...)
			if resp.StatusCode != c.code || !strings.Contains(body, c.want) {
				t.Errorf("got %s, want %d and %q in:\n%s", resp.Status, c.code, c.want, body)
			}
			if len(resp.cookies) > 0 {
				t.Errorf("got cookies: %v", resp.cookies)
			}
			if strings.Contains(resp.Header.Get("Content-Security-Policy"), "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers: %v", resp.Header)
			}
		})
	}
}

func TestHostHeader(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:7080": true, "127.8.9.1": true, "localhost:7080": true, "LOCALHOST": true, "portal.localhost": true,
		"[::1]:7080": true, "portal.example.com": true, "portal.example.com.": true, "evil.example.com": false, "10.0.0.1:7080": false,
		"127.0.0.1.evil.com": false, "localhost.evil.com": false, "": false,
	} {
		d := &Server{cfg: Config{Hosts: []string{"portal.example.com"}}}
		if got := d.addressed(host); got != want {
			t.Errorf("addressed(%q) = %v", host, got)
		}
	}
	d := newDoor(t, t.TempDir())
	d.logIn()
	if resp, _ := d.ask("GET", "/", "Host: evil.example.com"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("rebound name: %s", resp.Status)
	}
}

func TestCrossSiteActions(t *testing.T) {
	d := newDoor(t, t.TempDir())
	d.logIn()
	for _, c := range []struct {
		name   string
		method string
		header string
		code   int
		acts   int
	}{
		{"form on another site", "POST", "Sec-Fetch-Site: cross-site", 403, 0},
		{"app on another port", "POST", "Sec-Fetch-Site: same-site", 403, 0},
		{"old browser, other origin", "POST", "Origin: http://127.0.0.1:8080", 403, 0},
		{"our own page", "POST", "Sec-Fetch-Site: same-origin", 303, 1},
		{"a script", "POST", "Accept: application/json", 200, 1},
		{"reading is no action", "GET", "Accept: application/json", 404, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.acts = 0
			if resp, body := d.ask(c.method, "/act", c.header); resp.StatusCode != c.code || d.acts != c.acts {
				t.Errorf("%s, %d acts: %s", resp.Status, d.acts, body)
			}
		})
	}
}

func TestSessionSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	first := newDoor(t, dir)
	first.logIn()
	at, err := url.Parse(first.URL())
	if err != nil {
		t.Fatal(err)
	}
	cookie := first.client.Jar.Cookies(at)[0]
	b, err := os.ReadFile(filepath.Join(dir, sessionsFile))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), cookie.Value) {
		t.Error("the session itself is on disk")
	}
	info, err := os.Stat(filepath.Join(dir, sessionsFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	header := "Cookie: " + cookie.String()
	if resp, _ := newDoor(t, dir).ask("GET", "/", header); resp.StatusCode != http.StatusOK {
		t.Errorf("after a restart: %s", resp.Status)
	}
	if resp, _ := first.ask("POST", "/logout"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("logout: %s", resp.Status)
	}
	if resp, _ := newDoor(t, dir).ask("GET", "/", header); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after logout and a restart: %s", resp.Status)
	}
}

func TestDamagedSessions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, sessionsFile), []byte(`[{"hash":`), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDoor(t, dir)
	d.logIn()
	if resp, _ := d.ask("GET", "/"); resp.StatusCode != http.StatusOK {
		t.Errorf("login after damage: %s", resp.Status)
	}
}

func TestGate(t *testing.T) {
	g, err := openGate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	oldest := g.newToken()
	var newest string
	for range maxTokens {
		newest = g.newToken()
	}
	if _, ok, _ := g.exchange(oldest, now); ok {
		t.Error("a token outlived 16 newer ones")
	}
	cookie, ok, err := g.exchange(newest, now)
	if !ok || err != nil {
		t.Fatalf("newest token: %v, %v", ok, err)
	}
	if !g.known(cookie, now.Add(sessionLife-time.Second)) || g.known(cookie, now.Add(sessionLife)) {
		t.Error("a session lives 30 days")
	}
	for range maxSessions {
		if _, ok, err := g.exchange(g.newToken(), now); !ok || err != nil {
			t.Fatalf("login: %v, %v", ok, err)
		}
	}
	if len(g.sessions) != maxSessions || g.known(cookie, now) {
		t.Errorf("%d sessions; the oldest is known: %v", len(g.sessions), g.known(cookie, now))
	}
}

func TestLoginIsLimited(t *testing.T) {
	d := newDoor(t, t.TempDir())
	for range 50 {
		if resp, _ := d.ask("GET", "/login?token=guess"); resp.StatusCode == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("50 attempts in a row were all answered")
}

func TestRepresentations(t *testing.T) {
	d := newDoor(t, t.TempDir())
	d.logIn()
	_, html := d.ask("GET", "/", "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	for _, want := range []string{"<title>A page · Escale</title>", "one &lt;b&gt;", ">1h</time>", `aria-current="page">Pages`, " data-live"} {
		if !strings.Contains(html, want) {
			t.Errorf("HTML lacks %q:\n%s", want, html)
		}
	}
	for _, bad := range []string{" style=", "<style", " onclick", "<script>", "//fonts", "https://"} {
		if strings.Contains(html, bad) {
			t.Errorf("HTML holds %q", bad)
		}
	}
	var got testView
	if _, body := d.ask("GET", "/", "Accept: application/json"); json.Unmarshal([]byte(body), &got) != nil || got.Name != "one <b>" {
		t.Errorf("JSON: %s", body)
	}
	for path, code := range map[string]int{"/missing": 404, "/broken": 500, "/nowhere": 404} {
		for _, accept := range []string{"text/html", "application/json"} {
			resp, body := d.ask("GET", path, "Accept: "+accept)
			if resp.StatusCode != code || !strings.HasPrefix(resp.Header.Get("Content-Type"), accept) {
				t.Errorf("%s as %s: %s, %s: %s", path, accept, resp.Status, resp.Header.Get("Content-Type"), body)
			}
		}
	}
}

func TestLive(t *testing.T) {
	d := newDoor(t, t.TempDir())
	d.logIn()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.URL()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	data := func() string {
		for lines.Scan() {
			if s, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return s
			}
		}
		t.Fatalf("stream ended: %v", lines.Err())
		return ""
	}
	if first, second := data(), data(); !strings.Contains(first, `id="age"`) || !strings.Contains(second, "one &lt;b&gt;") {
		t.Errorf("at first: %s and %s", first, second)
	}
	d.changes <- struct{}{}
	d.changes <- struct{}{} // the first one was worked off, and sent nothing
	d.view.Store(&testView{Name: "two", At: d.view.Load().At})
	d.changes <- struct{}{}
	if got := data(); got != `<p id="name">two</p>` {
		t.Errorf("after a change: %s", got)
	}
}

// TestLiveEndsWithItsReader: what a page subscribes to must not go on when its tab is closed.
func TestLiveEndsWithItsReader(t *testing.T) {
	d := newDoor(t, t.TempDir())
	d.logIn()
	ended := make(chan struct{})
	d.Page("/open", Page{Template: testPage, View: func(*http.Request) (View, error) { return *d.view.Load(), nil },
		Changes: func(ctx context.Context) <-chan struct{} {
			context.AfterFunc(ctx, func() { close(ended) })
			return nil
		}})
	ctx, closeTab := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL()+"/open", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	select {
	case <-ended:
		t.Fatal("the subscription ended while the tab is open")
	default:
	}
	closeTab()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the subscription goes on after its tab was closed")
	}
}

func TestMessageEncoding(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Message
		want string
	}{
		{"plain", Message{Event: "lines", ID: "7", Data: "x"}, "event: lines\nid: 7\ndata: x\n\n"},
		{"several lines", Message{Data: "a\nb"}, "data: a\ndata: b\n\n"},
		{"line ends of others", Message{Data: "a\r\nb\rc"}, "data: a\ndata: b\ndata: c\n\n"},
		{"nothing", Message{Event: "e"}, "event: e\ndata: \n\n"},
	} {
		if got := c.in.encode(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAgeAndTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59 * time.Minute: "59m", time.Hour: "1h",
		47 * time.Hour: "47h", 48 * time.Hour: "2d", 1000 * time.Hour: "41d",
	} {
		if got := Age(d); got != want {
			t.Errorf("Age(%v) = %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "<1 ms", 900 * time.Microsecond: "<1 ms", 41 * time.Millisecond: "41 ms", 1240 * time.Millisecond: "1.24 s",
		12340 * time.Millisecond: "12.3 s", 125 * time.Second: "2m 5s",
	} {
		if got := Took(d); got != want {
			t.Errorf("Took(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestAssetsAreKept(t *testing.T) {
	d := newDoor(t, t.TempDir())
	files, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if resp, _ := d.ask("GET", assets[f.Name()]); !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", f.Name(), resp.Header)
		}
		if resp, _ := d.ask("GET", "/assets/"+f.Name()+"?v=old"); strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s of another version is kept: %v", f.Name(), resp.Header)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	s := &Server{cfg: Config{Log: slog.New(slog.DiscardHandler)}, sections: []Section{{"Pages", "/"}}}
	for b.Loop() {
		s.render(httptest.NewRecorder(), http.StatusOK, testPage, frame{Title: "t", Section: "/", View: testView{Name: "x", At: time.Now()}})
	}
}
