// Command gateway is the data plane of Escale alone, with one route to one address: what test/bench/proxy measures.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/escale-dev/escale/internal/traffic"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gateway LISTEN-ADDRESS BACKEND-ADDRESS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

func run(address, backend string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	g, err := traffic.Static(l, slog.Default(), facts(), map[string][]string{"bench/web": {backend}})
	if err != nil {
		return err
	}
	return g.Start(ctx)
}

// facts are a Gateway for every name, and a route that brings all to one Service.
func facts() traffic.Facts {
	class := gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "escale"}}
	class.Spec.ControllerName = "escale.dev/gateway"
	gateway := gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: "front"}}
	gateway.Spec.GatewayClassName = "escale"
	gateway.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}
	route := gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: "web"}}
	route.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "front"}}
	port := gatewayv1.PortNumber(80)
	ref := gatewayv1.HTTPBackendRef{}
	ref.Name, ref.Port = "web", &port
	route.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{ref}}}
	service := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: "web"}}
	service.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	return traffic.Facts{
		Classes:    []gatewayv1.GatewayClass{class},
		Gateways:   []gatewayv1.Gateway{gateway},
		Routes:     []gatewayv1.HTTPRoute{route},
		Services:   []corev1.Service{service},
		Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}},
	}
}
