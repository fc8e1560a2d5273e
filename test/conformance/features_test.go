package conformance

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/escale-dev/escale/internal/traffic"
)

// declared are the features in the status of the gateway's class.
func declared(t *testing.T) map[features.FeatureName]bool {
	t.Helper()
	class := gatewayv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: "escale"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: traffic.ControllerName},
	}
	statuses := traffic.Compile(traffic.Facts{Classes: []gatewayv1.GatewayClass{class}}, nil).Statuses
	set := map[features.FeatureName]bool{}
	for _, f := range statuses.Classes["escale"].SupportedFeatures {
		set[features.FeatureName(f.Name)] = true
	}
	return set
}

// untested are features that the suite knows by name and has no test for. They are declared because tests in
// internal/traffic show that they work: TestRetryPolicy and TestRetryAfterBackendTimeout.
var untested = []features.FeatureName{features.SupportHTTPRouteRetryBackendTimeout, features.SupportHTTPRouteRetryConnectionError}

// A feature is declared because the suite tests it; TestConformance fails when one of its tests does.
func TestDeclaredFeaturesAreTested(t *testing.T) {
	tested := map[features.FeatureName]bool{}
	for _, one := range tests.ConformanceTests {
		for _, f := range one.Features {
			tested[f] = true
		}
	}
	for f := range declared(t) {
		if !tested[f] && !slices.Contains(untested, f) {
			t.Errorf("feature %q is declared, and no test of the suite is about it", f)
		}
	}
}

// What the profiles have and the class does not declare is not left out by an oversight.
func TestNothingOfTheProfilesIsMissing(t *testing.T) {
	have := declared(t)
	for _, p := range []suite.ConformanceProfile{
		suite.GatewayHTTPConformanceProfile, suite.GatewayGRPCConformanceProfile, suite.GatewayTLSConformanceProfile,
	} {
		for f := range p.CoreFeatures.Union(p.ExtendedFeatures) {
			if !have[f] {
				t.Errorf("profile %s: feature %q is not declared", p.Name, f)
			}
		}
	}
}
