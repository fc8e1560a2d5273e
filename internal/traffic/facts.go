package traffic

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// ControllerName is what a GatewayClass names to be served by this gateway.
const ControllerName gatewayv1.GatewayController = "escale.dev/gateway"

// Facts are the objects Compile decides on. It reads and never changes them.
type Facts struct {
	// Address is the IP address of the platform's socket; empty when that answers at every address of the machine.
	Address string
	// Network is where Gateways listen.
	Network NetworkFacts

	Classes      []gatewayv1.GatewayClass
	Gateways     []gatewayv1.Gateway
	ListenerSets []gatewayv1.ListenerSet
	Routes       []gatewayv1.HTTPRoute
	GRPCRoutes   []gatewayv1.GRPCRoute
	TLSRoutes    []gatewayv1.TLSRoute
	Policies     []gatewayv1.BackendTLSPolicy
	Services     []corev1.Service
	Secrets      []corev1.Secret
	ConfigMaps   []corev1.ConfigMap
	Grants       []gatewayv1beta1.ReferenceGrant
	Namespaces   []corev1.Namespace
}

// NetworkFacts say which sockets Gateways can have.
type NetworkFacts struct {
	// Block is where Gateways' addresses are taken from. Not valid: no Gateway has an address of its own, and their HTTP
	// listeners share the platform's socket.
	Block netip.Prefix
	// Everywhere says that, without a block, each listener's port is opened at every address of the machine.
	Everywhere bool
	// Default is the Gateway that answers on the platform's socket too, where Gateways have addresses.
	Default types.NamespacedName
	// Given are the addresses that Gateways had last; they keep them.
	Given map[types.NamespacedName]netip.Addr
	// Closed says of sockets that could not be opened why.
	Closed map[SocketKey]string
}

// own says that listeners have sockets of their own.
func (n *NetworkFacts) own() bool { return n.Block.IsValid() || n.Everywhere }

// Statuses is what Compile has to say about each object it serves. Conditions carry no transition time: that depends
// on what the object said before. Objects of other controllers are absent.
type Statuses struct {
	// Whole says that these are all. Else they are those of what changed, and Classes and Given are as before.
	Whole        bool
	Classes      map[string]gatewayv1.GatewayClassStatus
	Gateways     map[types.NamespacedName]gatewayv1.GatewayStatus
	ListenerSets map[types.NamespacedName]gatewayv1.ListenerSetStatus
	// Routes say what became of routes; nil for one that is gone.
	Routes map[objectRef]*routeState
	// Policies holds this controller's entries of status.ancestors: one for each Gateway that a policy matters to.
	Policies map[types.NamespacedName][]gatewayv1.PolicyAncestorStatus
	// Given are the addresses Gateways have: see NetworkFacts.
	Given map[types.NamespacedName]netip.Addr
}

// index is the facts by name.
type index struct {
	Facts
	classes    map[string]bool // accepted classes of ours
	services   map[types.NamespacedName]*serviceFacts
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	namespaces map[string]*corev1.Namespace
	grants     map[string][]*gatewayv1beta1.ReferenceGrant // by the namespace referred to
	// consulted are the Secrets and ConfigMaps that were looked for; selecting says that labels of namespaces were.
	consulted map[reference]bool
	selecting bool
}

// serviceFacts is what matters of a Service.
type serviceFacts struct {
	name     types.NamespacedName
	external bool
	ports    []corev1.ServicePort
}

func newIndex(f Facts) *index {
	x := &index{
		Facts:      f,
		classes:    map[string]bool{},
		services:   make(map[types.NamespacedName]*serviceFacts, len(f.Services)),
		secrets:    byName[corev1.Secret](f.Secrets),
		configMaps: byName[corev1.ConfigMap](f.ConfigMaps),
		namespaces: make(map[string]*corev1.Namespace, len(f.Namespaces)),
		grants:     map[string][]*gatewayv1beta1.ReferenceGrant{},
		consulted:  map[reference]bool{},
	}
	for i := range f.Services {
		x.setService(nameOf(&f.Services[i]), &f.Services[i])
	}
	for i := range f.Classes {
		if c := &f.Classes[i]; c.Spec.ControllerName == ControllerName && c.Spec.ParametersRef == nil {
			x.classes[c.Name] = true
		}
	}
	for i := range f.Namespaces {
		x.namespaces[f.Namespaces[i].Name] = &f.Namespaces[i]
	}
	for i := range f.Grants {
		g := &f.Grants[i]
		x.grants[g.Namespace] = append(x.grants[g.Namespace], g)
	}
	return x
}

// setService replaces a Service; nil for one that is gone.
func (x *index) setService(name types.NamespacedName, s *corev1.Service) {
	if s == nil {
		delete(x.services, name)
		return
	}
	x.services[name] = &serviceFacts{name: name, external: s.Spec.Type == corev1.ServiceTypeExternalName, ports: s.Spec.Ports}
}

// setNamespace replaces a namespace; nil for one that is gone.
func (x *index) setNamespace(name string, n *corev1.Namespace) {
	if n == nil {
		delete(x.namespaces, name)
		return
	}
	x.namespaces[name] = n
}

// forget lets go of the objects that only whole compilations read.
func (x *index) forget() {
	x.Facts = Facts{Address: x.Address, Network: x.Network}
	x.secrets, x.configMaps = nil, nil
}

func byName[T any, P interface {
	*T
	GetNamespace() string
	GetName() string
}](list []T) map[types.NamespacedName]P {
	m := make(map[types.NamespacedName]P, len(list))
	for i := range list {
		p := P(&list[i])
		m[nameOf(p)] = p
	}
	return m
}

// reference is an object that another one refers to.
type reference struct {
	kind string // of the core group
	name types.NamespacedName
}

// granted says whether objects of this kind, of the Gateway API and in namespace from, may refer to an object of
// another namespace.
func (x *index) granted(kind, from string, to reference) bool {
	if from == to.name.Namespace {
		return true
	}
	for _, g := range x.grants[to.name.Namespace] {
		if grantFrom(g.Spec.From, kind, from) && grantTo(g.Spec.To, to) {
			return true
		}
	}
	return false
}

func grantFrom(from []gatewayv1.ReferenceGrantFrom, kind, namespace string) bool {
	for _, f := range from {
		if f.Group == gatewayv1.GroupName && string(f.Kind) == kind && string(f.Namespace) == namespace {
			return true
		}
	}
	return false
}

func grantTo(to []gatewayv1.ReferenceGrantTo, object reference) bool {
	for _, t := range to {
		if t.Group == corev1.GroupName && string(t.Kind) == object.kind && (t.Name == nil || string(*t.Name) == object.name.Name) {
			return true
		}
	}
	return false
}
