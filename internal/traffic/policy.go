package traffic

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// policies are the BackendTLSPolicies by the Services they are about.
type policies struct {
	index *index
	// inForce holds the one policy that counts for a target; selecting all that are about a Service.
	inForce   map[policyTarget]*policyPlan
	selecting map[types.NamespacedName][]*policyPlan
	all       []*policyPlan
}

// policyTarget is a Service, or the port of it that has this name.
type policyTarget struct {
	service types.NamespacedName
	port    string
}

// policyPlan is a BackendTLSPolicy and what was decided about it.
type policyPlan struct {
	object              *gatewayv1.BackendTLSPolicy
	refused, unresolved verdict
	authorities         authorities // empty: those of the machine
	// gateways are those that reach its Services, with the number of routes' parents by which they do.
	gateways     map[types.NamespacedName]int
	ignored      bool // options were given
	alternatives []gatewayv1.SubjectAltName
}

func newPolicies(x *index) *policies {
	p := &policies{index: x, inForce: map[policyTarget]*policyPlan{}, selecting: map[types.NamespacedName][]*policyPlan{}}
	for i := range x.Policies {
		p.all = append(p.all, x.policy(&x.Policies[i]))
	}
	slices.SortFunc(p.all, func(a, b *policyPlan) int {
		return cmp.Or(a.object.CreationTimestamp.Compare(b.object.CreationTimestamp.Time),
			cmp.Compare(nameOf(a.object).String(), nameOf(b.object).String()))
	})
	for _, plan := range p.all {
		p.place(plan)
	}
	return p
}

// place puts a policy in force for its targets, unless an older one is.
func (p *policies) place(plan *policyPlan) {
	for i, ref := range plan.object.Spec.TargetRefs {
		if ref.Group != "" || ref.Kind != kindService {
			plan.refused = verdict{string(gatewayv1.PolicyReasonInvalid), fmt.Sprintf("spec.targetRefs[%d]: %q is not a Service.", i, ref.Kind)}
			continue
		}
		service := types.NamespacedName{Namespace: plan.object.Namespace, Name: string(ref.Name)}
		p.selecting[service] = append(p.selecting[service], plan)
		target := policyTarget{service, string(deref(ref.SectionName, ""))}
		if older := p.inForce[target]; older != nil {
			plan.refused = verdict{
				string(gatewayv1.PolicyReasonConflicted),
				fmt.Sprintf("BackendTLSPolicy %q is older and about the same Service %q.", nameOf(older.object), service.Name),
			}
			continue
		}
		p.inForce[target] = plan
	}
}

func (x *index) policy(o *gatewayv1.BackendTLSPolicy) *policyPlan {
	v := &o.Spec.Validation
	p := &policyPlan{
		object: o, gateways: map[types.NamespacedName]int{}, ignored: len(o.Spec.Options) > 0, alternatives: v.SubjectAltNames,
	}
	if v.WellKnownCACertificates != nil {
		if *v.WellKnownCACertificates != gatewayv1.WellKnownCACertificatesSystem {
			p.refused = verdict{
				string(gatewayv1.PolicyReasonInvalid),
				fmt.Sprintf("spec.validation.wellKnownCACertificates: %q is not known; use %q.", *v.WellKnownCACertificates, gatewayv1.WellKnownCACertificatesSystem),
			}
		}
		return p
	}
	good := 0
	for i, ref := range v.CACertificateRefs {
		err := p.authorities.add(x, kindPolicy, o.Namespace, &gatewayv1.ObjectReference{Group: ref.Group, Kind: ref.Kind, Name: ref.Name})
		if err == nil {
			good++
			continue
		}
		reason := gatewayv1.BackendTLSPolicyReasonInvalidCACertificateRef
		var refErr *referenceError
		if errors.As(err, &refErr) && refErr.cause == invalidKind {
			reason = gatewayv1.BackendTLSPolicyReasonInvalidKind
		}
		p.unresolved = verdict{string(reason), fmt.Sprintf("spec.validation.caCertificateRefs[%d]: %v.", i, err)}
	}
	if good == 0 {
		p.refused = verdict{string(gatewayv1.BackendTLSPolicyReasonNoValidCACertificate), "No authority can be read: see the condition ResolvedRefs."}
	}
	return p
}

// of is the policy in force for a port of a Service; nil for none.
func (p *policies) of(key BackendKey) *policyPlan {
	service := types.NamespacedName{Namespace: key.Namespace, Name: key.Service}
	if plan := p.inForce[policyTarget{service, key.PortName}]; plan != nil {
		return plan
	}
	return p.inForce[policyTarget{service: service}]
}

// policyUse is a Gateway that reaches a Service which a policy is about.
type policyUse struct {
	policy  *policyPlan
	gateway types.NamespacedName
}

// release takes back one use.
func (p *policyPlan) release(gateway types.NamespacedName) {
	if p.gateways[gateway]--; p.gateways[gateway] == 0 {
		delete(p.gateways, gateway)
	}
}

// usedBy notes that a Gateway reaches the Services of a route.
func (p *policies) usedBy(r *routeObject, g *gatewayPlan) []policyUse {
	if len(p.all) == 0 {
		return nil
	}
	var uses []policyUse
	note := func(ref *gatewayv1.BackendObjectReference) {
		name := types.NamespacedName{Namespace: r.Namespace, Name: string(ref.Name)}
		if ref.Namespace != nil {
			name.Namespace = string(*ref.Namespace)
		}
		for _, plan := range p.selecting[name] {
			use := policyUse{plan, nameOf(g.object)}
			plan.gateways[use.gateway]++
			uses = append(uses, use)
		}
	}
	for i := range r.rules {
		for j := range r.rules[i].BackendRefs {
			note(&r.rules[i].BackendRefs[j].BackendObjectReference)
		}
	}
	for i := range r.streams {
		for j := range r.streams[i].BackendRefs {
			note(&r.streams[i].BackendRefs[j].BackendObjectReference)
		}
	}
	return uses
}

// maxAncestors is how many the API allows.
const maxAncestors = 16

// ancestors are this controller's entries of status.ancestors: one for each Gateway that uses the policy.
func (p *policyPlan) ancestors() []gatewayv1.PolicyAncestorStatus {
	var names []types.NamespacedName
	for name := range p.gateways {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	var list []gatewayv1.PolicyAncestorStatus
	for _, name := range names[:min(len(names), maxAncestors)] {
		group, kind, namespace := gatewayv1.Group(gatewayv1.GroupName), gatewayv1.Kind(kindGateway), gatewayv1.Namespace(name.Namespace)
		list = append(list, gatewayv1.PolicyAncestorStatus{
			AncestorRef:    gatewayv1.ParentReference{Group: &group, Kind: &kind, Namespace: &namespace, Name: gatewayv1.ObjectName(name.Name)},
			ControllerName: ControllerName,
			Conditions:     p.conditions(),
		})
	}
	return list
}

func (p *policyPlan) conditions() []metav1.Condition {
	generation := p.object.Generation
	well := verdict{string(gatewayv1.PolicyReasonAccepted), "Backends are reached with TLS."}
	if p.ignored {
		well.message += " Without effect, because not supported: spec.options."
	}
	return []metav1.Condition{
		condition(string(gatewayv1.PolicyConditionAccepted), generation, p.refused, well),
		condition(string(gatewayv1.BackendTLSPolicyConditionResolvedRefs), generation, p.unresolved,
			verdict{string(gatewayv1.BackendTLSPolicyReasonResolvedRefs), "All references are resolved."}),
	}
}

// clientCertificate is what a Gateway shows to backends that ask for it.
type clientCertificate struct {
	pair   tls.Certificate
	digest string
}

func (c *compiler) clientCertificate(g *gatewayv1.Gateway) (*clientCertificate, verdict) {
	if g.Spec.TLS == nil || g.Spec.TLS.Backend == nil || g.Spec.TLS.Backend.ClientCertificateRef == nil {
		return nil, verdict{}
	}
	pair, err := c.certificate(kindGateway, g.Namespace, g.Spec.TLS.Backend.ClientCertificateRef)
	if err == nil {
		return &clientCertificate{pair, chainDigest(pair)}, verdict{}
	}
	reason := gatewayv1.GatewayReasonInvalidClientCertificateRef
	var ref *referenceError
	if errors.As(err, &ref) && ref.cause == notPermitted {
		reason = gatewayv1.GatewayReasonRefNotPermitted
	}
	return nil, verdict{string(reason), fmt.Sprintf("spec.tls.backend.clientCertificateRef: %v.", err)}
}

// upstream is the configuration for connections to a backend, and what identifies it.
func (p *policyPlan) upstream(client *clientCertificate) (string, *tls.Config) {
	v := &p.object.Spec.Validation
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: string(v.Hostname), RootCAs: p.authorities.pool}
	identity := [][]byte{[]byte(v.Hostname), p.authorities.pem, fmt.Append(nil, v.WellKnownCACertificates != nil)}
	if client != nil {
		c.Certificates = []tls.Certificate{client.pair}
		identity = append(identity, []byte(client.digest))
	}
	if len(p.alternatives) > 0 {
		// Names other than the one that is asked for: the chain is checked here, since crypto/tls would compare the latter.
		c.InsecureSkipVerify = true
		c.VerifyConnection = p.verifyAlternatives
		identity = append(identity, fmt.Append(nil, p.alternatives))
	}
	return digest(identity...), c
}

// verifyAlternatives accepts a certificate of the policy's authorities that has one of its subjectAltNames.
func (p *policyPlan) verifyAlternatives(s tls.ConnectionState) error {
	options := x509.VerifyOptions{Roots: p.authorities.pool, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(options); err != nil {
		return err
	}
	for _, name := range p.alternatives {
		if hasAlternative(leaf, name) {
			return nil
		}
	}
	return fmt.Errorf("the certificate has none of the subjectAltNames of BackendTLSPolicy %q", nameOf(p.object))
}

func hasAlternative(c *x509.Certificate, name gatewayv1.SubjectAltName) bool {
	if name.Type == gatewayv1.URISubjectAltNameType {
		for _, u := range c.URIs {
			if u.String() == string(name.URI) {
				return true
			}
		}
		return false
	}
	if host, ok := strings.CutPrefix(string(name.Hostname), "*."); ok { // any one label
		return c.VerifyHostname("any."+host) == nil
	}
	return c.VerifyHostname(string(name.Hostname)) == nil
}
