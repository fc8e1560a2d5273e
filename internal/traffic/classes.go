package traffic

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// supportedFeatures are the features of the Gateway API that this gateway implements whole, in alphabetical order.
// "Gateway" is absent until HTTPS listeners are served, which its core includes.
var supportedFeatures = []features.FeatureName{
	features.SupportGatewayHTTPListenerIsolation,
	features.SupportHTTPRoute,
	features.SupportHTTPRoute303RedirectStatusCode,
	features.SupportHTTPRoute307RedirectStatusCode,
	features.SupportHTTPRoute308RedirectStatusCode,
	features.SupportHTTPRouteBackendProtocolH2C,
	features.SupportHTTPRouteBackendProtocolWebSocket,
	features.SupportHTTPRouteBackendRequestHeaderModification,
	features.SupportHTTPRouteBackendTimeout,
	features.SupportHTTPRouteHostRewrite,
	features.SupportHTTPRouteMethodMatching,
	features.SupportHTTPRouteNamedRouteRule,
	features.SupportHTTPRouteParentRefPort,
	features.SupportHTTPRoutePathRedirect,
	features.SupportHTTPRoutePathRewrite,
	features.SupportHTTPRoutePortRedirect,
	features.SupportHTTPRouteQueryParamMatching,
	features.SupportHTTPRouteRequestTimeout,
	features.SupportHTTPRouteResponseHeaderModification,
	features.SupportHTTPRouteSchemeRedirect,
	features.SupportReferenceGrant,
}

func (c *compiler) classStatuses() map[string]gatewayv1.GatewayClassStatus {
	statuses := map[string]gatewayv1.GatewayClassStatus{}
	for i := range c.Classes {
		if class := &c.Classes[i]; class.Spec.ControllerName == ControllerName {
			statuses[class.Name] = classStatus(class)
		}
	}
	return statuses
}

func classStatus(class *gatewayv1.GatewayClass) gatewayv1.GatewayClassStatus {
	var refused verdict
	if class.Spec.ParametersRef != nil {
		refused = verdict{
			string(gatewayv1.GatewayClassReasonInvalidParameters),
			"spec.parametersRef: this gateway takes no parameters; remove it",
		}
	}
	s := gatewayv1.GatewayClassStatus{Conditions: []metav1.Condition{
		condition(string(gatewayv1.GatewayClassConditionStatusAccepted), class.Generation, refused,
			verdict{string(gatewayv1.GatewayClassReasonAccepted), "Gateways of this class are served."}),
	}}
	for _, f := range supportedFeatures {
		s.SupportedFeatures = append(s.SupportedFeatures, gatewayv1.SupportedFeature{Name: gatewayv1.FeatureName(f)})
	}
	return s
}
