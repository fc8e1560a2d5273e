package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/network"
	"github.com/escale-dev/escale/internal/engine/network/networktest"
)

func TestMain(m *testing.M) { networktest.Main(m) }

const (
	clusterAddress = "10.42.0.1:53"
	nodeAddress    = "10.42.4.1:53"
)

// addresses gives this test the platform's and a node's address.
func addresses(t *testing.T) engine.Network {
	t.Helper()
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
	if err := host.AddNode(netip.MustParseAddr("10.42.4.1")); err != nil {
		t.Fatal(err)
	}
	return plan
}

// outside is a resolver of the machine. It knows names below example.com, all of them at one address.
type outside struct {
	addr    string
	asked   atomic.Int32
	address atomic.Value
	server  *dns.Server
}

func startOutside(t *testing.T, ip string) *outside {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(ip, "53"))
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{addr: ip}
	o.address.Store("192.0.2.80")
	o.server = &dns.Server{PacketConn: conn, Handler: o}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = o.server.ActivateAndServe() }()
	t.Cleanup(func() { _ = conn.Close(); <-ended })
	return o
}

// ServeDNS answers a question of the machine.
func (o *outside) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(r)
	name := r.Question[0].Name
	if dns.IsSubDomain("example.com.", name) {
		o.asked.Add(1)
		if r.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, mustRR(name+" 1 IN A "+o.address.Load().(string)))
		}
	} else if name != "." {
		m.Rcode = dns.RcodeNameError
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, mustRR(". 300 IN SOA a. b. 1 1 1 1 300"))
	}
	_ = w.WriteMsg(m)
}

func mustRR(s string) dns.RR {
	rr, err := dns.NewRR(s)
	if err != nil {
		panic(err)
	}
	return rr
}

func ask(t *testing.T, server, transport, name string, kind uint16) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: transport, Timeout: 15 * time.Second}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	m, _, err := c.Exchange(q, server)
	if err != nil {
		t.Fatalf("asking %s for %s: %v", server, name, err)
	}
	return m
}

// address is the only address in an answer, or the code that says why there is none.
func address(m *dns.Msg) string {
	if m.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[m.Rcode]
	}
	var found []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			found = append(found, a.A.String())
		}
	}
	if len(found) != 1 {
		return fmt.Sprint(found)
	}
	return found[0]
}

// background runs f until the test ends.
func background(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// answering waits until a server answers anything.
func answering(t *testing.T, server string) {
	t.Helper()
	c := &dns.Client{Timeout: time.Second}
	q := new(dns.Msg)
	q.SetQuestion("ready.test.", dns.TypeA)
	for begun := time.Now(); ; {
		if _, _, err := c.Exchange(q, server); err == nil {
			return
		} else if time.Since(begun) > 30*time.Second {
			t.Fatalf("%s does not answer: %v", server, err)
		}
	}
}

func resolvConf(t *testing.T, servers ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	writeResolvConf(t, path, servers...)
	return path
}

func writeResolvConf(t *testing.T, path string, servers ...string) {
	t.Helper()
	var content string
	for _, s := range servers {
		content += "nameserver " + s + "\n"
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// deadKubeconfig names an API server that does not answer.
func deadKubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), `with "quotes" kubeconfig`)
	content := `{"apiVersion":"v1","kind":"Config","current-context":"c",
		"clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":""}}]}`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startNode starts a node's cache in front of upstream.
func startNode(t *testing.T, upstream string) {
	t.Helper()
	background(t, func(ctx context.Context) error {
		return RunNode(ctx, NodeConfig{Address: netip.MustParseAddr("10.42.4.1"), Upstream: upstream})
	})
	answering(t, nodeAddress)
}

func TestNodeKeepsAnswers(t *testing.T) {
	addresses(t)
	o := startOutside(t, "127.0.0.9")
	startNode(t, "127.0.0.9:53")
	for _, transport := range []string{"udp", "tcp"} {
		// The cluster's resolver answers on both; this one on UDP only, which the cache uses for the first question.
		if got := address(ask(t, nodeAddress, transport, "www.example.com", dns.TypeA)); got != "192.0.2.80" {
			t.Errorf("over %s: %s, want 192.0.2.80", transport, got)
		}
	}
	if n := o.asked.Load(); n > 2 {
		t.Errorf("the outside was asked %d times", n)
	}
	if got := address(ask(t, nodeAddress, "udp", "nothing.test", dns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("a name that is not: %s, want NXDOMAIN", got)
	}
	for range 100 {
		ask(t, nodeAddress, "udp", "many.example.com", dns.TypeAAAA)
	}
	if n := o.asked.Load(); n > 20 {
		t.Errorf("100 questions for one name reached the outside %d times", n)
	}
}

func TestNodeAnswersWhileUpstreamDoesNot(t *testing.T) {
	addresses(t)
	o := startOutside(t, "127.0.0.9")
	startNode(t, "127.0.0.9:53")
	ask(t, nodeAddress, "udp", "www.example.com", dns.TypeA)
	if err := o.server.Shutdown(); err != nil {
		t.Fatal(err)
	}
	// More than a second's worth of questions: the answer's time to live is over by the last.
	for begun := time.Now(); time.Since(begun) < 1500*time.Millisecond; {
		if got := address(ask(t, nodeAddress, "udp", "www.example.com", dns.TypeA)); got != "192.0.2.80" {
			t.Fatalf("after %s: %s, want the old answer", time.Since(begun), got)
		}
	}
	if got := address(ask(t, nodeAddress, "udp", "other.example.com", dns.TypeA)); got != "SERVFAIL" {
		t.Errorf("a name nobody asked for before: %s, want SERVFAIL", got)
	}
}

func TestClusterAsksTheMachinesResolvers(t *testing.T) {
	addresses(t)
	first, second := startOutside(t, "127.0.0.9"), startOutside(t, "127.0.0.10")
	second.address.Store("192.0.2.81")
	conf := resolvConf(t, "10.42.0.1", "10.43.0.10", "127.0.0.9")
	reread := make(chan time.Time)
	background(t, func(ctx context.Context) error {
		return runCluster(ctx, ClusterConfig{Address: netip.MustParseAddr("10.42.0.1"), Kubeconfig: deadKubeconfig(t), ResolvConf: conf}, reread)
	})
	answering(t, clusterAddress)

	for _, transport := range []string{"udp", "tcp"} {
		if transport == "tcp" {
			// The machine's resolvers of this test speak UDP only: over TCP the answer must come from the cache.
			ask(t, clusterAddress, "udp", "www.example.com", dns.TypeA)
		}
		if got := address(ask(t, clusterAddress, transport, "www.example.com", dns.TypeA)); got != "192.0.2.80" {
			t.Errorf("over %s: %s, want 192.0.2.80", transport, got)
		}
	}
	if got := address(ask(t, clusterAddress, "udp", "api.shop.svc.cluster.local", dns.TypeA)); got != "SERVFAIL" {
		t.Errorf("a Service while the API server does not answer: %s, want SERVFAIL", got)
	}

	t.Run("the file changes", func(t *testing.T) {
		writeResolvConf(t, conf, "127.0.0.10")
		reread <- time.Now()
		reread <- time.Now() // taken when the first has been dealt with
		if got := address(ask(t, clusterAddress, "udp", "new.example.com", dns.TypeA)); got != "192.0.2.81" {
			t.Errorf("%s, want the new resolver's 192.0.2.81", got)
		}
		if first.asked.Load() == 0 {
			t.Error("the first resolver was never asked: the test proves nothing")
		}
	})
	t.Run("the file names nobody", func(t *testing.T) {
		writeResolvConf(t, conf, "10.43.0.10")
		reread <- time.Now()
		reread <- time.Now()
		if got := address(ask(t, clusterAddress, "udp", "newer.example.com", dns.TypeA)); got != "SERVFAIL" {
			t.Errorf("%s, want SERVFAIL", got)
		}
	})
}

func TestStartAgainAfterAnAddressThatIsNotThere(t *testing.T) {
	addresses(t)
	err := RunNode(t.Context(), NodeConfig{Address: netip.MustParseAddr("10.42.200.1"), Upstream: "127.0.0.9:53"})
	if err == nil {
		t.Fatal("listened on an address this machine has not")
	}
	startOutside(t, "127.0.0.9")
	for range 3 {
		t.Run("start and stop", func(t *testing.T) { startNode(t, "127.0.0.9:53") })
	}
}
