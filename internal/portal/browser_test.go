package portal

import (
	"context"
	"iter"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/timeline"
)

// browser is a headless Chromium that is logged in.
type browser struct {
	t    *testing.T
	base string
	ctx  context.Context

	mu     sync.Mutex
	errors []string // what its console complained about
}

func newBrowser(t *testing.T, login string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(end)
	base, err := url.Parse(login)
	must(t, err)
	b := &browser{t: t, ctx: ctx, base: base.Scheme + "://" + base.Host}
	messages := chromedp.Console(ctx)
	go b.listen(messages)
	b.run(chromedp.Navigate(login))
	return b
}

func (b *browser) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return
		}
		b.mu.Lock()
		b.errors = append(b.errors, m.String())
		b.mu.Unlock()
	}
}

// run does what a person does, within a time after which it fails.
func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("in the browser: %v", err)
	}
}

// get is run for what has a result.
func get[T any](b *browser, a chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		b.t.Fatalf("in the browser: %v", err)
	}
	return v
}

// look says how the page is looked at.
type look struct {
	name          string
	width, height int64
	dark          bool
}

var looks = []look{
	{"desktop-light", 1440, 900, false}, {"desktop-dark", 1440, 900, true},
	{"phone-light", 360, 740, false}, {"phone-dark", 360, 740, true},
}

// open shows a page and waits until it is live.
func (b *browser) open(l look, path string) {
	b.t.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	b.run(
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			return err
		}),
		chromedp.EmulateViewport(l.width, l.height, chromedp.EmulateScale(1)),
		chromedp.Navigate(b.base+path),
		chromedp.WaitReady(chromedp.CSS(`#link[data-link=live]`)),
	)
}

// check fails on a complaint of the console, or on a page wider than the window.
func (b *browser) check() {
	b.t.Helper()
	wide := get(b, chromedp.Evaluate[string](`(() => {
		const most = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= most) return "";
		return [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > most + 1)
			.map((e) => e.tagName + "." + e.className).join(" ") || "something outside main";
	})()`))
	if wide != "" {
		b.t.Errorf("wider than the window: %s", wide)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		b.t.Errorf("console: %s", e)
	}
	b.errors = nil
}

// shot keeps a picture of the page among the artifacts of the test run.
func (b *browser) shot(name string) {
	b.t.Helper()
	window, page := get(b, chromedp.CaptureScreenshot()), get(b, chromedp.FullScreenshot(100))
	dir := b.t.ArtifactDir()
	must(b.t, os.WriteFile(filepath.Join(dir, name+".png"), window, 0o600))
	must(b.t, os.WriteFile(filepath.Join(dir, name+"-full.png"), page, 0o600))
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return get(b, chromedp.Text(chromedp.CSS(selector)))
}

// waitFor waits until an expression of the page is true.
func (b *browser) waitFor(expression string) {
	b.t.Helper()
	get(b, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(15*time.Second)))
}

func (b *browser) evaluate(expression string) string {
	b.t.Helper()
	return get(b, chromedp.Evaluate[string]("String("+expression+")"))
}

// focused names what the keyboard is at.
func (b *browser) focused() string {
	b.t.Helper()
	return b.evaluate(`(document.activeElement.id || document.activeElement.textContent).trim()`)
}

func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.run(chromedp.KeyEvent(k))
	}
}

// slash presses that key as one event: of two, Chromium would write the second one into the search, which has the
// focus by then.
func (b *browser) slash() {
	b.t.Helper()
	b.run(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		for _, params := range []input.DispatchKeyEventParams{
			{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/"},
			{Type: input.DispatchKeyEventTypeKeyUp, Key: "/", Code: "Slash"},
		} {
			if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, params); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestPortal(t *testing.T) {
	w := newWorld(t)
	t.Run("empty", func(t *testing.T) { testEmpty(t, w) })
	w.shop()
	t.Run("looks", func(t *testing.T) { testLooks(t, w) })
	t.Run("keyboard", func(t *testing.T) { testKeyboard(t, w) })
	t.Run("live", func(t *testing.T) { testLive(t, w) })
	t.Run("logs", func(t *testing.T) { testLogs(t, w) })
	t.Run("restart", func(t *testing.T) { testRestart(t, w) })
	t.Run("logout", func(t *testing.T) { testLogout(t, w) })
}

func testEmpty(t *testing.T, w *world) {
	b := newBrowser(t, w.web.LoginURL())
	for _, l := range looks {
		b.open(l, "/")
		b.shot(l.name + "-empty")
		for _, want := range []string{"escale deploy", "escale node add"} {
			if page := b.text("main"); !strings.Contains(page, want) {
				t.Errorf("empty overview names no next step %q:\n%s", want, page)
			}
		}
		b.open(l, "/timeline")
		b.shot(l.name + "-empty-timeline")
		b.check()
	}
}

func testLooks(t *testing.T, w *world) {
	b := newBrowser(t, w.web.LoginURL())
	payment := w.pods("shop", "payment", 2)
	pages := []struct{ name, path, want string }{
		{"overview", "/", "exits with code 1 right after its start"},
		{"app", "/apps/shop/search", "3 of 3 ready"},
		{"app-failing", "/apps/shop/payment", "stops right after its start (exit code 1, 4 restarts)"},
		{"app-job", "/apps/shop/daily-report", "has not run yet"},
		{"log", "/apps/shop/payment?pod=" + payment[0].Name, "payment accepted"},
		{"timeline", "/timeline", "240 requests in flight"},
	}
	for _, l := range looks {
		for _, p := range pages {
			t.Run(l.name+"-"+p.name, func(t *testing.T) {
				b.t = t
				b.open(l, p.path)
				if p.name == "log" {
					b.waitFor(`document.querySelectorAll(".log li").length >= 60`)
				}
				b.shot(l.name + "-" + p.name)
				if page := b.text("body"); !strings.Contains(page, p.want) {
					t.Errorf("%s does not say %q", p.path, p.want)
				}
				b.check()
			})
		}
	}
}

func testKeyboard(t *testing.T, w *world) {
	b := newBrowser(t, w.web.LoginURL())
	b.open(looks[0], "/")
	b.press(kb.Tab)
	if got := b.focused(); got != "Skip to content" {
		t.Errorf("first Tab reaches %q", got)
	}
	b.slash()
	if got := b.focused(); got != "q" {
		t.Errorf("/ focuses %q, want the search", got)
	}
	b.press("p", "a", "y")
	b.waitFor(`document.querySelectorAll("#apps tbody tr").length === 1 && location.search === "?q=pay"`)
	if got := b.focused(); got != "q" {
		t.Errorf("the search lost the focus to %q while the list changed", got)
	}
	b.press(kb.Tab)
	if got := b.evaluate(`document.activeElement.getAttribute("href")`); got != "/apps/shop/payment" {
		t.Errorf("Tab from the search reaches %q", got)
	}
	b.press(kb.Enter)
	b.run(chromedp.WaitVisible(chromedp.CSS(`.tree`)))
	b.run(chromedp.Focus(chromedp.CSS(`.tree a.name`)))
	b.press(kb.Enter)
	b.waitFor(`document.querySelectorAll(".log li").length > 0`)
	b.press(kb.Escape)
	b.waitFor(`document.getElementById("dock").hidden`)
	b.check()
}

func testLive(t *testing.T, w *world) {
	b := newBrowser(t, w.web.LoginURL())
	b.open(looks[0], "/?q=basket")
	b.run(chromedp.Focus(chromedp.CSS(`#apps a.name`)))
	b.evaluate(`window.before = document.activeElement`)
	app := &v1alpha1.App{}
	must(t, w.client.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "basket"}, app))
	app.Status.Observed = 2
	app.Status.Conditions = readyConditions("c41a09e7")
	w.writeStatus(app)
	b.waitFor(`document.querySelector("#apps .state").textContent === "Ready"`)
	if got := b.evaluate(`document.activeElement === window.before`); got != "true" {
		t.Error("the update took the focus away")
	}
	b.open(looks[0], "/timeline?q=wonder")
	b.waitFor(`document.querySelectorAll(".record").length === 0`)
	w.timeline.Add(timeline.Record{Actor: "scale", Action: "wondered", Object: timeline.Object{Kind: "App", Namespace: "shop", Name: "search"}})
	b.waitFor(`document.querySelectorAll(".record").length === 1`)
	b.check()
}

func testLogs(t *testing.T, w *world) {
	b := newBrowser(t, w.web.LoginURL())
	pods := w.pods("shop", "payment", 2)
	b.open(looks[0], "/apps/shop/payment")
	b.run(chromedp.Click(chromedp.CSS(`a.name[href*="` + pods[0].Name + `"]`)))
	b.waitFor(`document.querySelectorAll(".log li").length === 60`)
	follow := func(text string) { w.kubelet.more <- logLines(time.Now(), text)[0] }
	follow("first line after")
	b.waitFor(`document.querySelector(".log").lastElementChild.textContent.includes("first line after")`)

	b.run(chromedp.Click(chromedp.CSS(`#pause`)))
	follow("while paused")
	b.waitFor(`document.getElementById("pause").textContent === "Resume, 1 new"`)
	if got := b.evaluate(`document.querySelectorAll(".log li").length`); got != "61" {
		t.Errorf("%s lines shown while paused, want 61", got)
	}
	b.run(chromedp.Click(chromedp.CSS(`#pause`)))
	b.waitFor(`document.querySelector(".log").lastElementChild.textContent.includes("while paused")`)

	b.run(chromedp.Click(chromedp.CSS(`a.name[href*="` + pods[1].Name + `"]`)))
	b.waitFor(`document.querySelectorAll(".log li").length === 2`)
	if got := b.text(".log"); !strings.Contains(got, "PROVIDER_URL is not set") || strings.Contains(got, "\x1b") || strings.Contains(got, "[31m") {
		t.Errorf("log of the failing pod: %q", got)
	}
	b.run(chromedp.Click(chromedp.CSS(`nav[aria-label="Which start"] a:last-child`)))
	b.waitFor(`document.querySelector(".log")?.textContent.includes("(before)")`)
	b.shot("previous")
	b.check()
}

func testRestart(t *testing.T, w *world) {
	b := newBrowser(t, w.web.LoginURL())
	b.open(looks[0], "/apps/shop/search")
	b.run(chromedp.Click(chromedp.CSS(`button[popovertarget=restart]`)), chromedp.WaitVisible(chromedp.CSS(`#restart`)))
	b.shot("ask")
	b.press(kb.Escape)
	b.waitFor(`!document.getElementById("restart").matches(":popover-open")`)
	b.run(chromedp.Click(chromedp.CSS(`button[popovertarget=restart]`)), chromedp.Click(chromedp.CSS(`#restart .primary`)))
	b.waitFor(`document.getElementById("notice").textContent.startsWith("Restarting search")`)
	b.waitFor(`document.querySelector(".tree").textContent.includes("Rolling out")`)
	b.waitFor(`document.getElementById("recent").textContent.includes("portal")`)
	b.shot("rolling")
	b.check()
}

func testLogout(t *testing.T, w *world) {
	b := newBrowser(t, w.web.LoginURL())
	for _, l := range looks {
		b.open(l, "/")
		b.run(chromedp.Navigate(b.base+"/apps/shop/nothing"), chromedp.WaitVisible(chromedp.CSS(`.entry`)))
		if got := b.text("main"); !strings.Contains(got, `There is no app "nothing" in namespace "shop".`) {
			t.Errorf("page of an app that is not there: %s", got)
		}
		b.shot(l.name + "-missing")
	}
	b.mu.Lock()
	b.errors = nil // Chromium complains of each 404
	b.mu.Unlock()
	b.run(chromedp.Navigate(b.base+"/"), chromedp.Click(chromedp.CSS(`form[action="/logout"] button`)), chromedp.WaitVisible(chromedp.CSS(`#token`)))
	b.shot("login")
	b.run(chromedp.SendKeys(chromedp.CSS(`#token`), w.web.NewToken()+kb.Enter), chromedp.WaitVisible(chromedp.CSS(`#apps`)))
}
