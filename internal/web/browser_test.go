package web

import (
	"context"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/escale-dev/escale/internal/web/chart"
)

// charts is a page whose values the test changes.
type charts struct {
	Lines chart.Lines
	Other chart.Lines
}

func (charts) Title() string { return "Charts" }

var chartsPage = template.Must(Parse(fstest.MapFS{"page.html": &fstest.MapFile{Data: []byte(
	`{{define "page"}}{{template "live-charts" .}}{{end}}` +
		`{{define "live-charts"}}<section id="charts" class="charts">{{.Lines.HTML}}{{.Other.HTML}}</section>{{end}}`,
)}}, "page.html"), nil)

// chartsAt are sixty seconds that end at a value.
func chartsAt(last float64) charts {
	values, twice := make(chart.Values, 60), make(chart.Values, 60)
	for i := range values {
		values[i] = last - float64(59-i)
		twice[i] = 2 * values[i]
	}
	start := time.Now().Add(-time.Minute)
	draw := func(id string, v chart.Values) chart.Lines {
		return chart.Lines{ID: id, Title: "Title of " + id, Unit: chart.Rate, Start: start, Step: time.Second, Live: true,
			Series: []chart.Series{{Name: "answered", Values: v, Tone: chart.ToneA, Shape: chart.Area}},
			Marks:  []chart.Mark{{At: start.Add(30 * time.Second), Kind: chart.ScaledUp, Text: "2 → 5 pods"}}}
	}
	return charts{draw("one", values), draw("two", twice)}
}

// serveCharts returns the page's address with a token, and a function that changes its newest value.
func serveCharts(t *testing.T) (login string, change func(float64)) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Listener: listener, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	now, changes := 100.0, make(chan struct{}, 1)
	s.Page("/{$}", Page{Section: "/", Template: chartsPage, Changes: func(context.Context) <-chan struct{} { return changes },
		View: func(*http.Request) (View, error) {
			mu.Lock()
			defer mu.Unlock()
			return chartsAt(now), nil
		}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.LoginURL(), func(v float64) {
		mu.Lock()
		now = v
		mu.Unlock()
		changes <- struct{}{}
	}
}

// tab is a page in Chromium.
type tab struct {
	*testing.T
	ctx context.Context
}

func openTab(t *testing.T, address string, width int64) tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	limited, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	alloc, stop := chromedp.NewExecAllocator(limited, options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(end)
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			t.Errorf("console: %s", m.String())
		}
	}()
	b := tab{t, ctx}
	b.do(chromedp.EmulateViewport(width, 800, chromedp.EmulateScale(1)), chromedp.Navigate(address), chromedp.WaitReady(chromedp.CSS(`#link[data-link=live]`)))
	return b
}

func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.Fatalf("in the browser: %v", err)
	}
}

func (b tab) ask(expression string) string {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		b.Fatalf("in the browser: %v", err)
	}
	return v
}

func (b tab) waitFor(expression string) {
	b.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(15*time.Second))); err != nil {
		b.Fatalf("waited in vain for %s: %v; values are %q", expression, err, b.ask(`document.querySelector("#one .scrub").getAttribute("aria-valuetext")`))
	}
}

// saysNow waits until the first chart says a value where the cross-hair is.
func (b tab) saysNow(value string) {
	b.Helper()
	b.waitFor(`document.querySelector("#one .scrub").getAttribute("aria-valuetext").includes("answered ` + value + ` req/s")`)
}

func TestChartFollowsKeys(t *testing.T) {
	login, change := serveCharts(t)
	b := openTab(t, login, 1280)
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.Focus(chromedp.CSS(`#one .scrub`)))
	b.saysNow("100")
	b.do(chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft))
	b.saysNow("98")
	b.ask(`window.held = document.querySelector("#one .stroke")`)
	change(200)
	b.saysNow("198") // the place stays, the value is that of now
	if got := b.ask(`document.activeElement === document.querySelector("#one .scrub") && window.held.isConnected`); got != "true" {
		t.Error("an update took the focus, or replaced the line")
	}
	if got := b.ask(`document.querySelectorAll("figure[data-at]").length`); got != "2" {
		t.Errorf("the cross-hair is on %s charts, want both", got)
	}
	b.do(chromedp.KeyEvent(kb.Home))
	b.saysNow("141")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.waitFor(`document.getElementById("readout").hidden`)
}

func TestChartFollowsPointer(t *testing.T) {
	login, change := serveCharts(t)
	b := openTab(t, login, 360)
	point := func(part string) {
		b.ask(`(() => { const s = document.querySelector("#two .scrub"), box = s.getBoundingClientRect();
			s.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: box.left + box.width * ` + part + `, clientY: box.top + 20 })); })()`)
	}
	point("30 / 59")
	b.waitFor(`document.getElementById("readout").textContent.includes("142 req/s") && document.getElementById("readout").textContent.includes("2 → 5 pods")`)
	change(300)
	b.waitFor(`document.getElementById("readout").textContent.includes("542 req/s")`)
	for _, c := range []struct{ what, expression string }{
		{"the page is wider than the window", `document.documentElement.scrollWidth > document.documentElement.clientWidth`},
		{"the values leave the window", `(() => { const r = document.getElementById("readout").getBoundingClientRect(); return r.left < 0 || r.right > innerWidth; })()`},
	} {
		if b.ask(c.expression) == "true" {
			t.Error(c.what)
		}
	}
	b.ask(`document.querySelector("#one details").open = true`)
	change(400)
	b.waitFor(`document.querySelector("#one .legend").textContent.includes("400")`)
	if b.ask(`document.querySelector("#one details").open`) != "true" {
		t.Error("an update closed the table")
	}
}
