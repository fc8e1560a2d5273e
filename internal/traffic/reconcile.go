package traffic

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// shell gathers facts for the decisions and carries out what they say.
type shell struct {
	gateway  *Gateway
	client   client.Client
	timeline *timeline.Timeline
	log      *slog.Logger
	address  string
	statuses *pending
	// credentials are the Secrets and ConfigMaps that certificates are in.
	credentials cache.Cache
	// changed collects what the next table has to take in.
	changed changedSet
	// What follows is the table reconciler's alone, of which there is one: where Gateways listen, what was compiled last,
	// and whether that is to be compiled as a whole.
	network  NetworkFacts
	compiled *Compiled
	outdated bool
	burst    burst
	reopen   time.Time // when to try ports again that could not be opened
}

// shared lists without copying: nothing here changes what it reads.
const shared = client.UnsafeDisableDeepCopy

func (s *shell) tableReconciler() reconcile.TypedReconciler[tableRequest] {
	return reconcile.TypedFunc[tableRequest](func(ctx context.Context, _ tableRequest) (reconcile.Result, error) {
		changed := s.changed.take()
		if len(s.network.Closed) > 0 && !time.Now().Before(s.reopen) {
			changed.whole = true
		}
		if err := s.updateTable(ctx, changed); err != nil {
			s.changed.addAll(changed)
			return reconcile.Result{}, err
		}
		if len(s.network.Closed) > 0 { // nothing tells when a port becomes free
			return reconcile.Result{RequeueAfter: max(time.Until(s.reopen), time.Millisecond)}, nil
		}
		return reconcile.Result{}, nil
	})
}

// updateTable brings what changed to the data plane and the statuses: by itself where that is all it touches, else by
// compiling everything again.
func (s *shell) updateTable(ctx context.Context, changed changedObjects) error {
	if s.compiled != nil && !changed.whole && !s.outdated {
		ch, ok, err := s.gatherChanges(ctx, changed)
		if err != nil {
			return err
		}
		if ok && s.compiled.apply(ch) {
			return s.put(ctx)
		}
	}
	return s.compileAll(ctx)
}

func (s *shell) compileAll(ctx context.Context) error {
	s.outdated = true // until all went well
	facts, err := s.gather(ctx)
	if err != nil {
		return err
	}
	s.compiled = Compile(facts, s.compiled)
	// What cannot be opened is known only now, and belongs into the statuses.
	if closed := s.gateway.sockets.prepare(s.compiled.Table); !maps.Equal(closed, s.network.Closed) {
		s.network.Closed = closed
		facts.Network = s.network
		s.compiled = Compile(facts, s.compiled)
	}
	s.reopen = time.Now().Add(reopenDelay)
	s.network.Given = s.compiled.Statuses.Given
	if err := s.put(ctx); err != nil {
		return err
	}
	s.gateway.sockets.serve()
	s.gateway.sockets.prune(s.compiled.Table)
	s.outdated = false
	return nil
}

// put installs what was compiled, and then lets the statuses say so.
func (s *shell) put(ctx context.Context) error {
	if err := s.gateway.install(s.compiled.Table, s.findAddresses(ctx)); err != nil {
		s.outdated = true
		return fmt.Errorf("installing routes: %w", err)
	}
	s.statuses.publish(s.compiled.Statuses)
	s.burst.add(len(s.compiled.Statuses.Routes))
	return nil
}

// reopenDelay is how long to wait before a port that could not be opened is tried again.
const reopenDelay = 5 * time.Second

func (s *shell) gather(ctx context.Context) (Facts, error) {
	var (
		classes    gatewayv1.GatewayClassList
		gateways   gatewayv1.GatewayList
		sets       gatewayv1.ListenerSetList
		routes     gatewayv1.HTTPRouteList
		grpcRoutes gatewayv1.GRPCRouteList
		tlsRoutes  gatewayv1.TLSRouteList
		policies   gatewayv1.BackendTLSPolicyList
		services   corev1.ServiceList
		secrets    corev1.SecretList
		configMaps corev1.ConfigMapList
		grants     gatewayv1beta1.ReferenceGrantList
		namespaces corev1.NamespaceList
	)
	for list, from := range map[client.ObjectList]client.Reader{
		&classes: s.client, &gateways: s.client, &sets: s.client, &routes: s.client, &grpcRoutes: s.client, &tlsRoutes: s.client,
		&policies: s.client, &services: s.client, &grants: s.client, &namespaces: s.client,
		&secrets: s.credentials, &configMaps: s.credentials,
	} {
		if err := from.List(ctx, list, shared); err != nil {
			return Facts{}, fmt.Errorf("listing %T: %w", list, err)
		}
	}
	return Facts{
		Address: s.address, Network: s.network,
		Classes: classes.Items, Gateways: gateways.Items, ListenerSets: sets.Items,
		Routes: routes.Items, GRPCRoutes: grpcRoutes.Items, TLSRoutes: tlsRoutes.Items, Policies: policies.Items,
		Services: services.Items, Secrets: secrets.Items, ConfigMaps: configMaps.Items,
		Grants: grants.Items, Namespaces: namespaces.Items,
	}, nil
}

func (s *shell) endpointsReconciler() reconcile.TypedReconciler[types.NamespacedName] {
	return reconcile.TypedFunc[types.NamespacedName](func(ctx context.Context, service types.NamespacedName) (reconcile.Result, error) {
		return reconcile.Result{}, s.gateway.updateEndpoints(service.Namespace, service.Name, s.findAddresses(ctx))
	})
}

// findAddresses reads a backend's addresses from the slices of its Service.
func (s *shell) findAddresses(ctx context.Context) func(BackendKey) (addresses, error) {
	return func(key BackendKey) (addresses, error) {
		var slices discoveryv1.EndpointSliceList
		err := s.client.List(ctx, &slices, shared,
			client.InNamespace(key.Namespace), client.MatchingFields{sliceService: key.Service})
		if err != nil {
			return addresses{}, fmt.Errorf("listing EndpointSlices: %w", err)
		}
		return endpointAddresses(key.PortName, slices.Items), nil
	}
}
