package trigger

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// zoneServer is a resolver that knows one name.
func zoneServer(t *testing.T, name, address string) netip.AddrPort {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if out := zoneAnswer(buffer[:n], name, address); out != nil {
				_, _ = socket.WriteTo(out, from)
			}
		}
	}()
	return socket.LocalAddr().(*net.UDPAddr).AddrPort()
}

func zoneAnswer(question []byte, name, address string) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.Additionals = true, nil
	switch {
	case q.Name.String() != name:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func TestDialerKnowsTheNamesOfPods(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	d := NewDialer(zoneServer(t, "redis.shop.svc.cluster.local.", "127.0.0.1"), "cluster.local")
	for _, host := range []string{"redis.shop", "redis.shop.svc", "redis.shop.svc.cluster.local", "127.0.0.1", "localhost"} {
		conn, err := d.DialContext(context.Background(), "tcp4", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%q is not reached: %v", host, err)
			continue
		}
		_ = conn.Close()
	}
	if _, err := d.DialContext(context.Background(), "tcp4", net.JoinHostPort("nobody.shop.svc.cluster.local", port)); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a Service that is not there: %v", err)
	}
}

func TestNamesThatAHostMayMean(t *testing.T) {
	d := &Dialer{zone: "cluster.local"}
	for host, want := range map[string][]string{
		"redis":                        nil,
		"redis.":                       {"redis."},
		"redis.shop.svc.cluster.local": {"redis.shop.svc.cluster.local."},
		"sqs.eu-west-1.amazonaws.com":  {"sqs.eu-west-1.amazonaws.com.svc.cluster.local.", "sqs.eu-west-1.amazonaws.com.cluster.local.", "sqs.eu-west-1.amazonaws.com."},
		"a.b.c.d.e.example":            {"a.b.c.d.e.example."},
	} {
		if got := d.names(host); !slices.Equal(got, want) {
			t.Errorf("%q may mean %q, want %q", host, got, want)
		}
	}
}
