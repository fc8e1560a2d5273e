package view

import (
	"time"

	"github.com/escale-dev/escale/internal/web"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Facts is everything a view may know.
type Facts struct {
	Now      time.Time
	Gateways []Gateway
	Routes   []Route
	Backends []Backend
	Policies []Policy
	History  *History
}

// Gateway is one Gateway that is served, or a ListenerSet that adds to one.
type Gateway struct {
	Namespace, Name, Class string
	// AddsTo is the Gateway "namespace/name" of a ListenerSet; empty for a Gateway.
	AddsTo     string
	Addresses  []string
	Conditions []metav1.Condition
	Listeners  []Listener
}

// Listener of a Gateway.
type Listener struct {
	Name, Protocol, Host string
	Port                 int32
	Routes               int32
	Conditions           []metav1.Condition
}

// Policy is a BackendTLSPolicy: how backends are called over TLS.
type Policy struct {
	Namespace, Name string
	// Targets are the Services it is about, Host is the name their certificates have to have, Trusts who signed them.
	Targets []string
	Host    string
	Trusts  string
	// Ancestors are the Gateways that reach its Services, and what came of it there.
	Ancestors []Parent
}

// Route is a route of any kind.
type Route struct {
	Kind, Namespace, Name string
	Created               time.Time
	Hosts                 []string
	Parents               []Parent
	Rules                 []Rule
}

// ID is the route as counters and addresses of pages name it.
func (r Route) ID() string { return r.Namespace + "/" + r.Name }

// Parent is what a route is attached to, and what came of it.
type Parent struct {
	Name       string
	Conditions []metav1.Condition
}

// Rule of a route.
type Rule struct {
	// Matches are the requests it takes, in words.
	Matches []string `json:"matches"`
	// Does is what it does beside sending requests on, in words.
	Does    []string `json:"does,omitempty"`
	Targets []Target `json:"targets,omitempty"`
}

// Target of a rule: a backend and its share.
type Target struct {
	// Backend is "namespace/service:port".
	Backend string `json:"backend"`
	Weight  int32  `json:"weight"`
}

// Backend is a port of a Service as the gateway sees it now.
type Backend struct {
	// Name is "namespace/service:port".
	Name      string
	Endpoints []Endpoint
	// InFlight requests, Held ones included, and the most there may be.
	InFlight, Held, Most int64
	// Holds, Ejections and Denied are how many requests were held, endpoints ejected and retries not made for lack of
	// budget since the gateway started.
	Holds, Ejections, Denied uint64
	// Full and HoldFull say that the breaker takes no more requests.
	Full, HoldFull bool
	LastSuccess    time.Time
	// Failures of attempts by kind since the gateway started, in the order of History.Kinds.
	Failures []uint64
}

// Endpoint is one pod of a backend.
type Endpoint struct {
	Address  string
	InFlight int64
	Draining bool
	// Ejected is until when it gets no requests; zero when it gets some.
	Ejected time.Time
	// Failed is how many attempts failed in a row.
	Failed int
}

// The states.
var (
	Serving  = web.OK("Serving")
	Idle     = web.Off("Idle")
	Accepted = web.OK("Accepted")
	Waiting  = web.Busy("Waiting")
	Degraded = web.Warn("Degraded")
	Ejected  = web.Warn("Ejected")
	Draining = web.Busy("Draining")
	Broken   = web.Bad("Broken")
	Refused  = web.Bad("Refused")
	Failing  = web.Bad("Failing")
	// Unmatched stands for requests that no route takes.
	Unmatched = web.Off("Unmatched")
)
