package release

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/escale-dev/escale/api/v1alpha1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// URL is where a routed App answers, given the address of its gateway, such as "http://127.0.0.1:8080". A route with a
// host keeps the gateway's scheme and port; one for every name below a host is shown with the name "any". Empty where
// the gateway's address is not known.
func URL(route v1alpha1.Route, gateway string) string {
	u, err := url.Parse(gateway)
	if err != nil || u.Host == "" {
		return ""
	}
	if route.Host != "" {
		host := strings.Replace(route.Host, "*", "any", 1)
		if port := u.Port(); port != "" {
			host = net.JoinHostPort(host, port)
		}
		u.Host = host
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: routePath(route)}).String()
}

// gatewayURL is the address a Gateway says it has: its first HTTP or HTTPS listener on its first address.
func gatewayURL(g *gatewayv1.Gateway) string {
	if g == nil || len(g.Status.Addresses) == 0 {
		return ""
	}
	for _, l := range g.Spec.Listeners {
		scheme, usual := "http", int32(80)
		switch l.Protocol {
		case gatewayv1.HTTPProtocolType:
		case gatewayv1.HTTPSProtocolType:
			scheme, usual = "https", 443
		default:
			continue
		}
		host := g.Status.Addresses[0].Value
		if l.Port != usual {
			host = net.JoinHostPort(host, strconv.Itoa(int(l.Port)))
		}
		return scheme + "://" + host
	}
	return ""
}
