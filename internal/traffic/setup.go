package traffic

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	portal "github.com/escale-dev/escale/internal/web"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// Deps is what the gateway needs from the platform.
type Deps struct {
	// Manager runs the gateway. Its scheme knows the Gateway API's v1 and v1beta1; its client should not be limited to
	// a low rate, because each route's status is a request.
	Manager ctrl.Manager
	// Listener is the platform's socket: that of Default, or of all Gateways where there is no Network. The gateway closes
	// it.
	Listener net.Listener
	// Network has the addresses of Gateways. Nil: HTTP listeners share Listener, whatever their port, and there are no
	// others.
	Network Network
	// Default is the Gateway that answers on Listener as well, where there is a Network.
	Default types.NamespacedName
	// PrivateCookie is the name of a cookie that backends must not see: that of the portal, which a browser sends to every
	// port of its host. Empty: none.
	PrivateCookie string
	// Signals hears what the gateway counts, of requests that wait for a pod and of pods that answer. It may be nil.
	Signals *signal.Store
	// Hold is how long a request waits for the first ready pod of its backend; 0 is DefaultHold. More than MaxHold is
	// taken as MaxHold.
	Hold time.Duration
	// Web serves the Traffic pages. It may be nil.
	Web *portal.Server
	// Passive: another gateway writes statuses, until Gateway.WriteStatuses says otherwise.
	Passive bool
	// Timeline receives a record when a route or Gateway is accepted or refused. It may be nil.
	Timeline *timeline.Timeline
	// Log is for people who run the platform.
	Log *slog.Logger
}

// statusWorkers is how many statuses are written at once.
const statusWorkers = 8

// Setup adds the gateway to the manager, which starts it. The routes are read again by two controllers: one compiles
// the table whenever an object changes, one replaces the endpoints of a Service whenever its slices do. A third writes
// statuses, so that a thousand of them do not delay the next table.
func Setup(d Deps) (*Gateway, error) {
	g := newGateway(d.Listener, d.Log, newSharedPlane(d.Signals, d.Hold))
	g.privateCookie = d.PrivateCookie
	g.sockets.network = d.Network
	s := &shell{
		gateway: g, client: d.Manager.GetClient(), timeline: d.Timeline, log: d.Log,
		address: advertised(d.Listener.Addr()), statuses: newPending(),
	}
	if d.Network != nil {
		s.network = NetworkFacts{Block: d.Network.Block(), Everywhere: !d.Network.Block().IsValid(), Default: d.Default}
	}
	var err error
	if s.credentials, err = newCredentials(d.Manager); err != nil {
		return nil, fmt.Errorf("setting up the gateway: %w", err)
	}
	err = d.Manager.GetFieldIndexer().IndexField(context.Background(), &discoveryv1.EndpointSlice{}, sliceService, func(o client.Object) []string {
		return []string{o.GetLabels()[discoveryv1.LabelServiceName]}
	})
	if err != nil {
		return nil, fmt.Errorf("indexing EndpointSlices: %w", err)
	}
	for _, add := range []func(ctrl.Manager) error{s.addTable, s.addEndpoints, s.addStatus, s.addServices} {
		if err := add(d.Manager); err != nil {
			return nil, fmt.Errorf("setting up the gateway: %w", err)
		}
	}
	if err := d.Manager.Add(g); err != nil {
		return nil, fmt.Errorf("setting up the gateway: %w", err)
	}
	g.statuses = s.statuses
	g.WriteStatuses(!d.Passive)
	d.Signals.AddTraffic(g)
	if d.Web != nil {
		s.addPages(d.Web, d.Signals)
	}
	return g, nil
}

// sliceService is the index of EndpointSlices by the Service they belong to.
const sliceService = "traffic.service"

// advertised is the address to publish for a socket: none for one that listens everywhere.
func advertised(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp.IP.IsUnspecified() {
		return ""
	}
	return tcp.IP.String()
}

// tableRequest asks for a new table. There is one table, so all requests are equal, and those that come while one is
// compiled become one.
type tableRequest struct{}

func (s *shell) addTable(m ctrl.Manager) error {
	everywhere := false
	c, err := controller.NewTyped("traffic-table", m, controller.TypedOptions[tableRequest]{
		Reconciler:         s.tableReconciler(),
		NeedLeaderElection: &everywhere,
		RateLimiter:        retryQuickly[tableRequest](),
	})
	if err != nil {
		return err
	}
	for _, watch := range []source.TypedSource[tableRequest]{
		watchForTable(m, &gatewayv1.GatewayClass{}, s.any, specChanged[*gatewayv1.GatewayClass]()),
		watchForTable(m, &gatewayv1.Gateway{}, s.any, specChanged[*gatewayv1.Gateway]()),
		watchForTable(m, &gatewayv1.ListenerSet{}, s.any, specChanged[*gatewayv1.ListenerSet]()),
		watchForTable(m, &gatewayv1.HTTPRoute{}, s.one(kindHTTPRoute), specChanged[*gatewayv1.HTTPRoute]()),
		watchForTable(m, &gatewayv1.GRPCRoute{}, s.one(kindGRPCRoute), specChanged[*gatewayv1.GRPCRoute]()),
		watchForTable(m, &gatewayv1.TLSRoute{}, s.one(kindTLSRoute), specChanged[*gatewayv1.TLSRoute]()),
		watchForTable(m, &gatewayv1.BackendTLSPolicy{}, s.any, specChanged[*gatewayv1.BackendTLSPolicy]()),
		watchForTable(m, &gatewayv1beta1.ReferenceGrant{}, s.any, specChanged[*gatewayv1beta1.ReferenceGrant]()),
		// A Service has no generation; its status changes seldom.
		watchForTable(m, &corev1.Service{}, s.one(kindService), predicate.TypedFuncs[*corev1.Service]{}),
		watchForTable(m, &corev1.Namespace{}, s.one(kindNamespace), predicate.TypedLabelChangedPredicate[*corev1.Namespace]{}),
		watchIn(s.credentials, &corev1.Secret{}, s.one(kindSecret)),
		watchIn(s.credentials, &corev1.ConfigMap{}, s.one(kindConfigMap)),
	} {
		if err := c.Watch(watch); err != nil {
			return err
		}
	}
	return nil
}

// any notes that an object changed on which any route may depend; one notes an object of a kind.
func (s *shell) any(client.Object) { s.changed.everything() }

func (s *shell) one(kind string) func(client.Object) {
	return func(o client.Object) { s.changed.add(kind, o) }
}

func watchForTable[T client.Object](m ctrl.Manager, object T, note func(client.Object), p predicate.TypedPredicate[T]) source.TypedSource[tableRequest] {
	return source.TypedKind(m.GetCache(), object, handler.TypedEnqueueRequestsFromMapFunc(askFor[T](note)), p)
}

// askFor notes what changed before it asks for a table, so that this table has it.
func askFor[T client.Object](note func(client.Object)) handler.TypedMapFunc[T, tableRequest] {
	return func(_ context.Context, o T) []tableRequest {
		note(o)
		return []tableRequest{{}}
	}
}

// specChanged leaves out the changes of status that the gateway writes itself.
func specChanged[T client.Object]() predicate.TypedPredicate[T] {
	return predicate.TypedGenerationChangedPredicate[T]{}
}

func (s *shell) addEndpoints(m ctrl.Manager) error {
	everywhere := false
	c, err := controller.NewTyped("traffic-endpoints", m, controller.TypedOptions[types.NamespacedName]{
		Reconciler:         s.endpointsReconciler(),
		NeedLeaderElection: &everywhere,
		RateLimiter:        retryQuickly[types.NamespacedName](),
	})
	if err != nil {
		return err
	}
	return c.Watch(source.TypedKind(m.GetCache(), &discoveryv1.EndpointSlice{},
		handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, slice *discoveryv1.EndpointSlice) []types.NamespacedName {
			service := slice.Labels[discoveryv1.LabelServiceName]
			if service == "" {
				return nil
			}
			return []types.NamespacedName{{Namespace: slice.Namespace, Name: service}}
		})))
}

func (s *shell) addStatus(m ctrl.Manager) error {
	c, err := controller.NewTyped("traffic-status", m, controller.TypedOptions[objectRef]{
		Reconciler:              s.statusReconciler(),
		MaxConcurrentReconciles: statusWorkers,
		RateLimiter:             retryQuickly[objectRef](),
	})
	if err != nil {
		return err
	}
	return c.Watch(source.TypedFunc[objectRef](s.statuses.start))
}

// retryQuickly repeats after a failure at 5 ms, then at twice the time before, up to 5 s.
func retryQuickly[T comparable]() workqueue.TypedRateLimiter[T] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[T](5*time.Millisecond, 5*time.Second)
}
