package traffic

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/escale-dev/escale/internal/timeline"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
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
}

// shared lists without copying: nothing here changes what it reads.
const shared = client.UnsafeDisableDeepCopy

func (s *shell) tableReconciler() reconcile.TypedReconciler[tableRequest] {
	return reconcile.TypedFunc[tableRequest](func(ctx context.Context, _ tableRequest) (reconcile.Result, error) {
		facts, err := s.gather(ctx)
		if err != nil {
			return reconcile.Result{}, err
		}
		table, statuses := Compile(facts)
		if err := s.gateway.install(table, s.findAddresses(ctx)); err != nil {
			return reconcile.Result{}, fmt.Errorf("installing routes: %w", err)
		}
		s.statuses.publish(statuses)
		return reconcile.Result{}, nil
	})
}

func (s *shell) gather(ctx context.Context) (Facts, error) {
	var (
		classes    gatewayv1.GatewayClassList
		gateways   gatewayv1.GatewayList
		routes     gatewayv1.HTTPRouteList
		services   corev1.ServiceList
		grants     gatewayv1beta1.ReferenceGrantList
		namespaces corev1.NamespaceList
	)
	for _, list := range []client.ObjectList{&classes, &gateways, &routes, &services, &grants, &namespaces} {
		if err := s.client.List(ctx, list, shared); err != nil {
			return Facts{}, fmt.Errorf("listing %T: %w", list, err)
		}
	}
	return Facts{
		Address: s.address,
		Classes: classes.Items, Gateways: gateways.Items, Routes: routes.Items,
		Services: services.Items, Grants: grants.Items, Namespaces: namespaces.Items,
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
