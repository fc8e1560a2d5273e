package traffic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryapply "k8s.io/client-go/applyconfigurations/discovery/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	// fieldOwner is the gateway's name in managed fields.
	fieldOwner = client.FieldOwner("escale-gateway")
	// managedBy says whose EndpointSlices these are.
	managedBy = "gateway.escale.dev"
	// maxServiceName is how long the name of a Service may be.
	maxServiceName = 63
)

// addServices keeps a Service for each Gateway that has an address, so that pods find it by name. It carries the labels
// and annotations of spec.infrastructure.
func (s *shell) addServices(m ctrl.Manager) error {
	if !s.network.Block.IsValid() {
		return nil
	}
	c, err := controller.NewTyped("traffic-services", m, controller.TypedOptions[types.NamespacedName]{
		Reconciler:  reconcile.TypedFunc[types.NamespacedName](s.reconcileService),
		RateLimiter: retryQuickly[types.NamespacedName](),
	})
	if err != nil {
		return err
	}
	return c.Watch(source.TypedKind(m.GetCache(), &gatewayv1.Gateway{},
		handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, g *gatewayv1.Gateway) []types.NamespacedName {
			return []types.NamespacedName{nameOf(g)}
		})))
}

func (s *shell) reconcileService(ctx context.Context, name types.NamespacedName) (reconcile.Result, error) {
	var g gatewayv1.Gateway
	if err := s.client.Get(ctx, name, &g); err != nil || g.DeletionTimestamp != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	ours := false
	s.statuses.read(func(all *Statuses) { _, ours = all.Gateways[name] })
	addresses := ownAddresses(&g, s.network.Block)
	if !ours || len(addresses) == 0 {
		return reconcile.Result{}, nil
	}
	service := types.NamespacedName{Namespace: name.Namespace, Name: serviceName(&g)}
	var have corev1.Service
	err := s.client.Get(ctx, service, &have)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading Service %q: %w", service, err)
	}
	if err == nil && have.Labels[gatewayv1.GatewayNameLabelKey] != name.Name {
		s.log.Warn("a Gateway has no Service, because one of another owner has its name", "gateway", name.String(), "service", service.String())
		return reconcile.Result{}, nil
	}
	for _, apply := range []func() error{
		func() error {
			return s.client.Apply(ctx, gatewayService(&g), fieldOwner, client.ForceOwnership)
		},
		func() error {
			return s.client.Apply(ctx, gatewaySlice(&g, addresses), fieldOwner, client.ForceOwnership)
		},
	} {
		if err := apply(); err != nil && !apierrors.IsNotFound(err) { // of a namespace that is being deleted
			return reconcile.Result{}, fmt.Errorf("applying the Service of Gateway %q: %w", name, err)
		}
	}
	return reconcile.Result{}, nil
}

// ownAddresses are the Gateway's addresses that are its alone.
func ownAddresses(g *gatewayv1.Gateway, block netip.Prefix) []string {
	var list []string
	for _, a := range g.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Value); err == nil && block.Contains(addr) {
			list = append(list, a.Value)
		}
	}
	return list
}

// serviceName is "gateway-class", as GEP-1762 names what belongs to a Gateway; a name that is too long is cut and ends
// with what tells it from others.
func serviceName(g *gatewayv1.Gateway) string {
	name := g.Name + "-" + string(g.Spec.GatewayClassName)
	if len(name) <= maxServiceName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	tail := hex.EncodeToString(sum[:4])
	return name[:maxServiceName-len(tail)-1] + "-" + tail
}

// infrastructureLabels are those of everything that belongs to a Gateway.
func infrastructureLabels(g *gatewayv1.Gateway) (labels, annotations map[string]string) {
	labels, annotations = map[string]string{}, map[string]string{}
	if i := g.Spec.Infrastructure; i != nil {
		for k, v := range i.Labels {
			labels[string(k)] = string(v)
		}
		for k, v := range i.Annotations {
			annotations[string(k)] = string(v)
		}
	}
	labels[gatewayv1.GatewayNameLabelKey] = g.Name
	labels["gateway.networking.k8s.io/gateway-class-name"] = string(g.Spec.GatewayClassName)
	return labels, annotations
}

func owner(g *gatewayv1.Gateway) *metaapply.OwnerReferenceApplyConfiguration {
	return metaapply.OwnerReference().WithAPIVersion(gatewayv1.GroupVersion.String()).WithKind(kindGateway).
		WithName(g.Name).WithUID(g.UID).WithController(true)
}

// portsOf are the ports of a Gateway's listeners, each once.
func portsOf(g *gatewayv1.Gateway) []int32 {
	var ports []int32
	seen := map[int32]bool{}
	for _, l := range g.Spec.Listeners {
		if !seen[l.Port] {
			seen[l.Port] = true
			ports = append(ports, l.Port)
		}
	}
	return ports
}

func portName(port int32) string { return fmt.Sprintf("port-%d", port) }

// gatewayService has no address of its own: its name leads to the Gateway's.
func gatewayService(g *gatewayv1.Gateway) *coreapply.ServiceApplyConfiguration {
	labels, annotations := infrastructureLabels(g)
	spec := coreapply.ServiceSpec().WithClusterIP(corev1.ClusterIPNone)
	for _, p := range portsOf(g) {
		spec.WithPorts(coreapply.ServicePort().WithName(portName(p)).WithPort(p).WithProtocol(corev1.ProtocolTCP))
	}
	return coreapply.Service(serviceName(g), g.Namespace).
		WithLabels(labels).WithAnnotations(annotations).WithOwnerReferences(owner(g)).WithSpec(spec)
}

func gatewaySlice(g *gatewayv1.Gateway, addresses []string) *discoveryapply.EndpointSliceApplyConfiguration {
	labels, annotations := infrastructureLabels(g)
	maps.Copy(labels, map[string]string{discoveryv1.LabelServiceName: serviceName(g), discoveryv1.LabelManagedBy: managedBy})
	slice := discoveryapply.EndpointSlice(serviceName(g), g.Namespace).
		WithLabels(labels).WithAnnotations(annotations).WithOwnerReferences(owner(g)).
		WithAddressType(discoveryv1.AddressTypeIPv4).
		WithEndpoints(discoveryapply.Endpoint().WithAddresses(addresses...).
			WithConditions(discoveryapply.EndpointConditions().WithReady(true)))
	for _, p := range portsOf(g) {
		slice.WithPorts(discoveryapply.EndpointPort().WithName(portName(p)).WithPort(p).WithProtocol(corev1.ProtocolTCP))
	}
	return slice
}
