// Package shop_test runs the shop as plain processes on loopback, from the same file that a platform deploys, and walks
// the journey of a customer through a stand-in for the gateway.
package shop_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// customer is one browser.
type customer struct {
	*http.Client
	t   *testing.T
	url string
}

func (s *shop) customer() customer {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return customer{&http.Client{Jar: jar}, s.t, s.url}
}

// get fetches a page.
func (c customer) get(path string) (int, string) {
	c.t.Helper()
	resp, err := c.Get(c.url + path)
	return c.read(resp, err)
}

// submit sends a form and follows where it leads.
func (c customer) submit(path string, fields ...string) (int, string) {
	c.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	resp, err := c.PostForm(c.url+path, form)
	return c.read(resp, err)
}

func (c customer) read(resp *http.Response, err error) (int, string) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// expect fails the test unless the answer has the status and holds the texts.
func (c customer) expect(what string, want int, texts ...string) func(int, string) string {
	c.t.Helper()
	return func(code int, body string) string {
		c.t.Helper()
		if code != want {
			c.t.Fatalf("%s: status %d, want %d\n%s", what, code, want, body)
		}
		for _, text := range texts {
			if !strings.Contains(body, text) {
				c.t.Fatalf("%s: no %q in the answer\n%s", what, text, body)
			}
		}
		return body
	}
}

const (
	goodCard     = "4242 4242 4242 4242"
	declinedCard = "4000 0000 0000 0002"
)

// orderOf is the id on an order's page.
func orderOf(t *testing.T, page string) string {
	t.Helper()
	m := regexp.MustCompile(`data-order="([a-z2-7]{16})"`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no order on the page\n%s", page)
	}
	return m[1]
}

// watch follows an order's page until it has said until, and returns what it said.
func (c customer) watch(id, until string) (states []string) {
	c.t.Helper()
	resp, err := c.Get(c.url + "/orders/" + id + "/events")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		if state, ok := strings.CutPrefix(in.Text(), "data: "); ok {
			states = append(states, state)
			if state == until {
				return states
			}
		}
	}
	c.t.Fatalf("order %s ended at %q, not at %q", id, states, until)
	return nil
}

// buy fills a basket, pays, and returns the order.
func (c customer) buy() string {
	c.t.Helper()
	c.expect("adding", 200, "Your basket")(c.submit("/basket", "id", "lifebuoy"))
	return orderOf(c.t, c.expect("paying", 200, "Thank you, Ada")(c.checkout(goodCard)))
}

func (c customer) checkout(card string) (int, string) {
	c.t.Helper()
	return c.submit("/checkout", "name", "Ada", "harbour", "Old Harbour", "card", card)
}

func TestJourney(t *testing.T) {
	c := startShop(t, "STEP=50ms").customer()
	c.expect("the shop", 200, "Leeward Sound", "Watch Cap")(c.get("/"))
	c.expect("a search", 200, "Ring Lifebuoy", "as we read")(c.get("/?q=lifebouy"))
	c.expect("a search for nothing", 200, "Nothing in these waters")(c.get("/?q=zzzz"))
	c.expect("an empty basket", 200, "It is empty")(c.get("/basket"))
	c.expect("adding", 200, "Your basket", "€ 59.00")(c.submit("/basket", "id", "lifebuoy"))
	c.expect("adding two", 200, "€ 108.00")(c.submit("/basket", "id", "chart-leeward-sound", "quantity", "2"))
	c.expect("removing one", 200, "€ 83.50")(c.submit("/basket", "id", "chart-leeward-sound", "quantity", "-1"))
	c.expect("what is not sold", 404, "We do not have that")(c.submit("/basket", "id", "submarine"))
	c.expect("the basket as JSON", 200, `"count":2`, `"total":8350`)(c.get("/api/basket"))

	c.expect("a declined card", 402, "declined", `value="Old Harbour"`, "€ 83.50")(c.checkout(declinedCard))
	c.expect("a mistyped card", 402, "a digit may be wrong")(c.checkout("4242 4242 4242 4243"))

	page := c.expect("paying", 200, "Thank you, Ada", "€ 83.50", "ends in 4242")(c.checkout(goodCard))
	c.expect("the basket afterwards", 200, "It is empty")(c.get("/basket"))
	id := orderOf(t, page)
	if again := orderOf(t, c.expect("paying again", 200)(c.checkout(goodCard))); again != id {
		t.Errorf("paying again made order %s beside %s", again, id)
	}
	c.watch(id, "shipped")
	c.expect("the order as JSON", 200, `"state":"shipped"`, `"total":8350`, `"card":"4242"`)(c.get("/api/payments/" + id))
	c.expect("dispatch", 200, `"queued":0`, `"shipped":1`)(c.get("/api/dispatch"))
	c.expect("another's order", 404, "No such order")(c.get("/orders/aaaaaaaaaaaaaaaa"))
}

func TestPayingTwiceAtOnceIsOneOrder(t *testing.T) {
	c := startShop(t, "STEP=1h").customer()
	c.expect("adding", 200)(c.submit("/basket", "id", "kettle"))
	pages := make(chan string, 8)
	var all sync.WaitGroup
	for range cap(pages) {
		all.Go(func() {
			_, page := c.checkout(goodCard)
			pages <- page
		})
	}
	all.Wait()
	close(pages)
	orders := map[string]bool{}
	for page := range pages {
		orders[orderOf(t, page)] = true
	}
	if len(orders) != 1 {
		t.Errorf("one basket became the orders %v", orders)
	}
}

func TestEveryServiceAnswersThroughTheGateway(t *testing.T) {
	s := startShop(t)
	c := s.customer()
	for name, path := range map[string]string{
		"storefront": "/api/storefront", "catalog": "/api/catalog", "payment": "/api/payments", "dispatch": "/api/dispatch",
	} {
		c.expect(name+"'s health", 200, "ok")(c.get(path + "/healthz"))
		inside := customer{http.DefaultClient, t, "http://" + s.address[name]}
		inside.expect(name+"'s health", 200, "ok")(inside.get("/healthz"))
		inside.expect(name+"'s metrics", 200, "# TYPE http_request_duration_seconds histogram")(inside.get("/metrics"))
	}
	c.expect("metrics from outside", 404)(c.get("/metrics"))
}

// load sends requests, eight at a time, until it is stopped or one is lost.
type load struct {
	t       *testing.T
	send    func(n int64) (*http.Response, error)
	sent    atomic.Int64
	lost    atomic.Int64
	stopped atomic.Bool
	workers sync.WaitGroup
}

// start returns once a hundred requests are answered.
func (l *load) start() {
	warm := make(chan struct{})
	var once sync.Once
	for range 8 {
		l.workers.Go(func() {
			defer once.Do(func() { close(warm) })
			for !l.stopped.Load() && l.one() {
				if l.sent.Load() == 100 {
					once.Do(func() { close(warm) })
				}
			}
		})
	}
	<-warm
}

func (l *load) one() bool {
	resp, err := l.send(l.sent.Add(1))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode >= 300 {
			err = fmt.Errorf("status %s", resp.Status)
		}
	}
	if err != nil {
		l.lost.Add(1)
		l.t.Logf("lost a request: %v", err)
	}
	return err == nil
}

// As a gateway does, the load goes on until the health check says that the service stops.
func TestShutdownLosesNoRequest(t *testing.T) {
	for name, send := range map[string]func(base string, n int64) (*http.Response, error){
		"storefront": func(base string, _ int64) (*http.Response, error) { return http.Get(base + "/?q=rope") },
		"payment": func(base string, n int64) (*http.Response, error) {
			return http.Post(base+"/api/payments", "application/json", strings.NewReader(fmt.Sprintf(
				`{"key":"%d","card":"4242424242424242","name":"Ada","harbour":"Old Harbour","items":{"kettle":1}}`, n)))
		},
		"dispatch": func(base string, _ int64) (*http.Response, error) { return http.Get(base + "/api/dispatch") },
		"catalog":  func(base string, _ int64) (*http.Response, error) { return http.Get(base + "/api/catalog?q=rope") },
	} {
		t.Run(name, func(t *testing.T) {
			s := startShop(t)
			base := "http://" + s.address[name]
			l := load{t: t, send: func(n int64) (*http.Response, error) { return send(base, n) }}
			l.start()
			s.process[name].cmd.Process.Signal(syscall.SIGTERM)
			for !l.stopped.Load() {
				resp, err := http.Get(base + "/healthz")
				if err == nil {
					resp.Body.Close()
				}
				l.stopped.Store(err != nil || resp.StatusCode != http.StatusOK)
			}
			l.workers.Wait()
			if l.lost.Load() > 0 {
				t.Errorf("lost %d of %d requests", l.lost.Load(), l.sent.Load())
			}
			if err := s.process[name].stop(); err != nil {
				t.Errorf("the service ended with %v", err)
			}
		})
	}
}

func TestOpenPageDoesNotHoldTheStorefrontBack(t *testing.T) {
	s := startShop(t, "STEP=1h")
	c := s.customer()
	resp, err := c.Get(c.url + "/orders/" + c.buy() + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := s.process["storefront"].stop(); err != nil {
		t.Errorf("the storefront ended with %v", err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the events of the order ended with %v", err)
	}
}

func TestNoJobIsLostWithItsWorker(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			s := startShop(t, "STEP=1h", "LEASE=1s")
			c := s.customer()
			id := c.buy()
			for queued := true; queued; { // until the worker has it
				_, body := c.get("/api/dispatch")
				queued = !strings.Contains(body, `"queued":0`)
			}
			s.process["dispatch"].cmd.Process.Signal(signal)
			<-s.process["dispatch"].ended
			s.env = []string{"STEP=10ms", "LEASE=1s"}
			s.startService("dispatch")
			c.watch(id, "shipped")
		})
	}
}

func TestDatabaseOutageIsSurvived(t *testing.T) {
	s := startShop(t, "STEP=10ms")
	c := s.customer()
	id := c.buy()
	c.watch(id, "shipped")
	if err := s.process["database"].stop(); err != nil {
		t.Fatal(err)
	}
	c.expect("health", 503, "the database does not answer")(c.get("/api/storefront/healthz"))
	c.expect("the shop", 200, "Watch Cap")(c.get("/"))
	c.expect("the basket", 503, "Becalmed")(c.get("/basket"))
	s.startDatabase()
	c.expect("health", 200, "ok")(c.get("/api/storefront/healthz"))
	c.expect("the order", 200, "shipped")(c.get("/orders/" + id))
	c.watch(c.buy(), "shipped")
}
