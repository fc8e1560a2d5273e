package dns

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/escale-dev/escale/internal/engine"
)

func TestCorefiles(t *testing.T) {
	host := netip.MustParseAddr("10.42.0.1")
	cluster := ClusterConfig{Address: host, Kubeconfig: `/var/lib/escale/"x"/kubeconfig`}
	for file, got := range map[string]string{
		"testdata/cluster.Corefile": clusterCorefile(cluster, []string{"192.0.2.53:53", "[2001:db8::53]:53"}),
		"testdata/alone.Corefile":   clusterCorefile(cluster, nil),
		"testdata/node.Corefile":    nodeCorefile(NodeConfig{Address: netip.MustParseAddr("10.42.4.1"), Upstream: "10.42.0.1:53"}),
	} {
		t.Run(file, func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the configuration changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolvers(t *testing.T) {
	own := netip.MustParseAddr("10.42.0.1")
	many := slices.Repeat([]string{"192.0.2.1"}, 20)
	for name, c := range map[string]struct{ servers, want []string }{
		"nobody":                          {nil, nil},
		"both families":                   {[]string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.1:53", "[2001:db8::1]:53"}},
		"a resolver on this machine":      {[]string{"127.0.0.53"}, []string{"127.0.0.53:53"}},
		"our own addresses would loop":    {[]string{"10.42.0.1", "10.43.0.10", "10.42.4.1", "::ffff:10.42.0.1"}, nil},
		"an address that needs a device":  {[]string{"fe80::1%eth0"}, nil},
		"what is not an address":          {[]string{"dns.example.com", ""}, nil},
		"more than the forwarder can ask": {many, slices.Repeat([]string{"192.0.2.1:53"}, maxResolvers)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := resolvers(c.servers, "53", own); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	for name, want := range map[string]string{
		".":                            "",
		"api.":                         "",
		"api.shop.":                    "api.shop.svc.cluster.local.",
		"db-0.db.shop.":                "db-0.db.shop.svc.cluster.local.",
		"api.shop.svc.":                "api.shop.svc.cluster.local.",
		"Api.Shop.SVC.":                "Api.Shop.SVC.cluster.local.",
		"db-0.db.shop.svc.":            "db-0.db.shop.svc.cluster.local.",
		`0.0.\.svc.`:                   "0.0.\\.svc.svc.cluster.local.",
		"svc.":                         "",
		"shop.svc.":                    "",
		"a.b.example.com.":             "",
		"api.shop.svc.cluster.local.":  "",
		"_http._tcp.db-0.db.shop.svc.": "",
		"www.example.com.":             "www.example.com.svc.cluster.local.",
	} {
		got, ok := expand(name)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// FuzzExpand: a name that arrives from the network never becomes one outside the cluster's zone, and loses nothing.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"\x03api\x04shop\x00", "\x02a.\x01b\x00", "\x01a\x04.svc\x00", "\x03svc\x03svc\x03svc\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		name, _, err := dns.UnpackDomainName(wire, 0)
		if err != nil {
			return
		}
		got, ok := expand(name)
		if ok && (!strings.HasPrefix(got, name) || !dns.IsSubDomain("svc."+zone, got)) {
			t.Errorf("%q became %q", name, got)
		}
	})
}

// FuzzResolvConf: whatever the machine's file holds, what is asked is an address and not our own.
func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\n")
	f.Add("nameserver fe80::1%eth0\noptions ndots:x\nsearch\n")
	own := netip.MustParseAddr("10.42.0.1")
	f.Fuzz(func(t *testing.T, content string) {
		conf, err := dns.ClientConfigFromReader(strings.NewReader(content))
		if err != nil {
			return
		}
		for _, r := range resolvers(conf.Servers, conf.Port, own) {
			a, err := netip.ParseAddrPort(r)
			if err != nil || netip.PrefixFrom(own, 15).Contains(a.Addr().Unmap()) {
				t.Errorf("would ask %q (%v)", r, err)
			}
		}
	})
}

func TestObjects(t *testing.T) {
	plan, err := engine.NewNetwork(engine.DefaultNetwork)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Objects(plan)
	if err != nil {
		t.Fatal(err)
	}
	service, slice := objects[0], objects[1]
	spec, _ := service.Object["spec"].(map[string]any)
	if spec["clusterIP"] != "10.43.0.10" || service.GetNamespace()+"/"+service.GetName() != "kube-system/kube-dns" {
		t.Errorf("Service %s/%s at %v", service.GetNamespace(), service.GetName(), spec["clusterIP"])
	}
	endpoints, _ := slice.Object["endpoints"].([]any)
	first, _ := endpoints[0].(map[string]any)
	if diff := cmp.Diff([]any{"10.42.0.1"}, first["addresses"]); diff != "" {
		t.Error(diff)
	}
	for _, o := range objects {
		if _, has := o.Object["status"]; has {
			t.Errorf("%s has a status", o.GetKind())
		}
	}
}
