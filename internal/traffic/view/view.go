package view

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Facts is everything a view may know.
type Facts struct {
	Now      time.Time
	Gateways []Gateway
	Routes   []Route
	Backends []Backend
	History  *History
}

// Gateway is one Gateway that is served.
type Gateway struct {
	Namespace, Name, Class string
	Addresses              []string
	Conditions             []metav1.Condition
	Listeners              []Listener
}

// Listener of a Gateway.
type Listener struct {
	Name, Protocol, Host string
	Port                 int32
	Routes               int32
	Conditions           []metav1.Condition
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

// State is the word for how something is.
type State string

// The states.
const (
	Serving  State = "Serving"
	Idle     State = "Idle"
	Accepted State = "Accepted"
	Waiting  State = "Waiting"
	Degraded State = "Degraded"
	Ejected  State = "Ejected"
	Draining State = "Draining"
	Broken   State = "Broken"
	Refused  State = "Refused"
	Failing  State = "Failing"
	// Unmatched stands for requests that no route takes.
	Unmatched State = "Unmatched"
)

var levels = map[State]string{
	Serving: "ok", Accepted: "ok", Waiting: "busy", Draining: "busy", Degraded: "warn", Ejected: "warn",
	Broken: "bad", Refused: "bad", Failing: "bad",
}

// Level is "ok", "busy", "warn", "bad", or "off" for what rests.
func (s State) Level() string {
	if l, ok := levels[s]; ok {
		return l
	}
	return "off"
}

// Notice is something that a person should know now.
type Notice struct {
	State State `json:"state"`
	// What it is about, and the page that shows it.
	What string `json:"what"`
	Page string `json:"page,omitempty"`
	// Text is one sentence with the reason, Next the step that helps.
	Text string `json:"text"`
	Next string `json:"next,omitempty"`
}
