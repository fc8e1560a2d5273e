package calls

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/network"
	"github.com/escale-dev/escale/internal/engine/network/networktest"
	"github.com/escale-dev/escale/internal/signal"
)

func TestMain(m *testing.M) { networktest.Main(m) }

// fixed is a topology that does not change.
type fixed struct {
	pods     map[string]signal.Workload
	services map[string][]signal.Backend
}

func (f fixed) ByIP(ip string) (signal.Workload, bool) { w, ok := f.pods[ip]; return w, ok }
func (f fixed) ByServiceIP(ip string) []signal.Backend { return f.services[ip] }

func named(name string) signal.Workload {
	return signal.Workload{Kind: "Deployment", Namespace: "shop", Name: name}
}

var shop = fixed{
	pods: map[string]signal.Workload{"10.42.4.8": named("web"), "10.42.4.9": named("catalog"), "10.42.4.10": named("web")},
	services: map[string][]signal.Backend{"10.43.0.7": {
		{Workload: named("catalog"), Share: .5}, {Workload: named("catalog-next"), Share: .5},
	}},
}

func connection(from, to, answers string) Connection {
	return Connection{From: net.ParseIP(from), To: net.ParseIP(to), Answers: net.ParseIP(answers)}
}

func names(t *testing.T, f *Finder, callee string) (callers []string) {
	t.Helper()
	calls, err := f.Callers(t.Context(), named(callee))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		callers = append(callers, c.Caller.Name)
	}
	return callers
}

func TestConnectionsOfPodsAreCallsOfTheirWorkloads(t *testing.T) {
	for name, c := range map[string]struct {
		connection Connection
		callee     string
		want       string
	}{
		"to a pod":                                   {connection("10.42.4.8", "10.42.4.9", "10.42.4.9"), "catalog", "[web]"},
		"to a Service, of which a pod answers":       {connection("10.42.4.8", "10.43.0.7", "10.42.4.9"), "catalog", "[web]"},
		"another workload of the Service is not":     {connection("10.42.4.8", "10.43.0.7", "10.42.4.9"), "catalog-next", "[]"},
		"to a Service, of which nobody answered yet": {connection("10.42.4.8", "10.43.0.7", "10.43.0.7"), "catalog-next", "[web]"},
		"of the platform itself":                     {connection("10.42.0.1", "10.42.4.9", "10.42.4.9"), "catalog", "[]"},
		"to the outside":                             {connection("10.42.4.8", "192.0.2.7", "192.0.2.7"), "catalog", "[]"},
		"between pods of the workload":               {connection("10.42.4.8", "10.42.4.10", "10.42.4.10"), "web", "[]"},
	} {
		f := New(shop)
		f.list = func() ([]Connection, error) { return []Connection{c.connection}, nil }
		if got := fmt.Sprint(names(t, f, c.callee)); got != c.want {
			t.Errorf("%s: callers of %s are %s, want %s", name, c.callee, got, c.want)
		}
	}
}

func TestCallsAreRememberedForAnHourAndTheTableIsReadOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(shop)
		read := 0
		f.list = func() ([]Connection, error) {
			read++
			if read > 1 {
				return nil, nil
			}
			return []Connection{connection("10.42.4.8", "10.42.4.9", "10.42.4.9")}, nil
		}
		for range 100 {
			names(t, f, "catalog")
		}
		if read != 1 {
			t.Errorf("the table was read %d times at once", read)
		}
		time.Sleep(59 * time.Minute)
		if got := names(t, f, "catalog"); len(got) != 1 {
			t.Errorf("after 59 minutes the callers are %v", got)
		}
		time.Sleep(2 * time.Minute)
		if got := names(t, f, "catalog"); len(got) != 0 || len(f.edges) != 0 {
			t.Errorf("after 61 minutes the callers are %v", got)
		}
	})
}

func TestATableThatCannotBeReadIsSaidBesideWhatIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(shop)
		f.list = func() ([]Connection, error) {
			return []Connection{connection("10.42.4.8", "10.42.4.9", "10.42.4.9")}, nil
		}
		names(t, f, "catalog")
		time.Sleep(time.Minute)
		f.list = func() ([]Connection, error) { return nil, errors.New("not permitted") }
		calls, err := f.Callers(t.Context(), named("catalog"))
		if err == nil || len(calls) != 1 {
			t.Errorf("got %v, %v; want the reason and the call of a minute ago", calls, err)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	pods := map[string]signal.Workload{"10.42.4.9": named("catalog")}
	var all []Connection
	for i := range maxEdges + 500 {
		ip := fmt.Sprintf("10.44.%d.%d", i/250, i%250)
		pods[ip] = named(fmt.Sprint("caller-", i))
		all = append(all, connection(ip, "10.42.4.9", "10.42.4.9"))
	}
	f := New(fixed{pods: pods})
	f.list = func() ([]Connection, error) { return all, nil }
	if got := len(names(t, f, "catalog")); got != maxEdges {
		t.Errorf("%d callers are remembered, want %d", got, maxEdges)
	}
}

func TestTheKernelsTableShowsAPodsCall(t *testing.T) {
	networktest.Need(t)
	plan, err := engine.NewNetwork(engine.DefaultNetwork)
	if err != nil {
		t.Fatal(err)
	}
	host, err := network.Setup(plan, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	node := netip.MustParseAddr("10.42.4.1")
	if err := host.AddNode(node); err != nil {
		t.Fatal(err)
	}
	web := networktest.Pod(t, "web", netip.MustParseAddr("10.42.4.8"), node, plan.Host())
	catalog := networktest.Pod(t, "catalog", netip.MustParseAddr("10.42.4.9"), node, plan.Host())
	listener := catalog.Listen("10.42.4.9:80")
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	f := New(shop)
	if got := names(t, f, "catalog"); len(got) != 0 {
		t.Fatalf("before any call the callers are %v", got)
	}
	if !web.Answers("10.42.4.9:80") {
		t.Fatal("the pod does not answer")
	}
	f.next = time.Time{}
	if got := fmt.Sprint(names(t, f, "catalog")); got != "[web]" {
		t.Errorf("the callers are %s, want [web]", got)
	}
}
