package readiness

import (
	"time"

	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"
)

// asker asks what a probe asks, with the kubelet's own code.
type asker struct {
	http httpprobe.Prober
	tcp  tcpprobe.Prober
	grpc grpcprobe.Prober
}

func newAsker() asker {
	const followToOtherHosts = false // as the kubelet
	return asker{http: httpprobe.New(followToOtherHosts), tcp: tcpprobe.New(), grpc: grpcprobe.New()}
}

// ask says whether the probe would succeed now. What cannot be asked has not: the kubelet's own probe tells why.
func (a asker) ask(t *Target) bool {
	timeout := time.Duration(max(t.Spec.TimeoutSeconds, 1)) * time.Second
	switch p := t.Spec; {
	case p.HTTPGet != nil:
		req, err := httpprobe.NewRequestForHTTPGetAction(p.HTTPGet, t.Of, t.Host, "probe")
		if err != nil {
			return false
		}
		return good(a.http.Probe(req, timeout))
	case p.TCPSocket != nil:
		port, err := probe.ResolveContainerPort(p.TCPSocket.Port, t.Of)
		if err != nil {
			return false
		}
		host := t.Host
		if p.TCPSocket.Host != "" {
			host = p.TCPSocket.Host
		}
		return good(a.tcp.Probe(host, port, timeout))
	case p.GRPC != nil:
		// A connection that is refused would be tried again only after a second.
		if !good(a.tcp.Probe(t.Host, int(p.GRPC.Port), timeout)) {
			return false
		}
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		return good(a.grpc.Probe(t.Host, service, int(p.GRPC.Port), timeout))
	}
	return false
}

// good says whether the kubelet would take it for a success: a warning is one.
func good(result probe.Result, _ string, err error) bool {
	return err == nil && (result == probe.Success || result == probe.Warning)
}
