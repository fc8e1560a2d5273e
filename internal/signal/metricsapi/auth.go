package metricsapi

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
)

// frontProxy knows requests that the API server passes on.
type frontProxy struct {
	pool *x509.CertPool
	// names are those its certificate may have; any where there is none.
	names   []string
	headers authenticator.Request
}

// readFrontProxy reads how the API server identifies itself, which it publishes for servers like this one.
func readFrontProxy(ctx context.Context, kube kubernetes.Interface) (*frontProxy, error) {
	const name = "extension-apiserver-authentication"
	m, err := kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading ConfigMap %q: %w", name, err)
	}
	lists := map[string][]string{}
	for _, key := range []string{"allowed-names", "username-headers", "uid-headers", "group-headers", "extra-headers-prefix"} {
		var list []string
		if text := m.Data["requestheader-"+key]; text != "" {
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				return nil, fmt.Errorf("reading %q of ConfigMap %q: %w", "requestheader-"+key, name, err)
			}
		}
		lists[key] = list
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(m.Data["requestheader-client-ca-file"])) {
		return nil, fmt.Errorf("ConfigMap %q names no authority of a front proxy: the API server needs --requestheader-client-ca-file", name)
	}
	headers, err := headerrequest.New(lists["username-headers"], lists["uid-headers"], lists["group-headers"], lists["extra-headers-prefix"])
	if err != nil {
		return nil, fmt.Errorf("reading ConfigMap %q: %w", name, err)
	}
	// The aggregator asks for descriptions as a user without groups; as elsewhere, who has a name is authenticated.
	return &frontProxy{pool: pool, names: lists["allowed-names"], headers: group.NewAuthenticatedGroupAdder(headers)}, nil
}

var errNotFrontProxy = errors.New("only the API server may ask here")

// user is who asks. The handshake has verified the certificate's authority; here it is its name.
func (f *frontProxy) user(r *http.Request) (user.Info, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, errNotFrontProxy
	}
	name := r.TLS.VerifiedChains[0][0].Subject.CommonName
	if len(f.names) > 0 && !slices.Contains(f.names, name) {
		return nil, errNotFrontProxy
	}
	who, ok, err := f.headers.AuthenticateRequest(r)
	if err != nil || !ok {
		return nil, errors.Join(errors.New("the request names no user"), err)
	}
	return who.User, nil
}

// authenticate refuses requests that the API server did not pass on.
func (f *frontProxy) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := f.user(r)
		if err != nil {
			serveError(w, apierrors.NewUnauthorized(err.Error()))
			return
		}
		next.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), who)))
	})
}

const (
	// allowedFor and deniedFor are how long an answer of the API server is believed.
	allowedFor = 10 * time.Second
	deniedFor  = 2 * time.Second
	// maxReviews bounds how many answers are remembered.
	maxReviews = 1024
)

// reviewer asks the API server whether users may.
type reviewer struct {
	kube kubernetes.Interface
	info *request.RequestInfoFactory

	mu      sync.Mutex
	answers map[string]answer
}

type answer struct {
	allowed bool
	reason  string
	until   time.Time
}

func newReviewer(kube kubernetes.Interface) *reviewer {
	return &reviewer{
		kube: kube, info: &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")},
		answers: map[string]answer{},
	}
}

// authorize refuses requests that their user may not make. What does not exist is no secret.
func (v *reviewer) authorize(next *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := next.Handler(r); pattern == "" {
			serveError(w, apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path))
			return
		}
		who, _ := request.UserFrom(r.Context())
		info, err := v.info.NewRequestInfo(r)
		if err != nil || who == nil {
			serveError(w, apierrors.NewBadRequest("the request has no meaning here"))
			return
		}
		a, err := v.ask(r.Context(), review(who, info))
		if err != nil {
			serveError(w, apierrors.NewInternalError(fmt.Errorf("asking whether %q may: %w", who.GetName(), err)))
			return
		}
		if !a.allowed {
			resource := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
			serveError(w, apierrors.NewForbidden(resource, info.Name, fmt.Errorf("user %q may not %s %s: %s", who.GetName(), info.Verb, info.Path, a.reason)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// review is the question about a request.
func review(who user.Info, info *request.RequestInfo) authorizationv1.SubjectAccessReviewSpec {
	spec := authorizationv1.SubjectAccessReviewSpec{User: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups()}
	for _, key := range slices.Sorted(maps.Keys(who.GetExtra())) {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[key] = who.GetExtra()[key]
	}
	if !info.IsResourceRequest {
		spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: info.Path, Verb: strings.ToLower(info.Verb)}
		return spec
	}
	spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
		Namespace: info.Namespace, Verb: info.Verb, Group: info.APIGroup, Version: info.APIVersion,
		Resource: info.Resource, Subresource: info.Subresource, Name: info.Name,
	}
	return spec
}

func (v *reviewer) ask(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (answer, error) {
	key, err := json.Marshal(spec)
	if err != nil {
		return answer{}, err
	}
	now := time.Now()
	v.mu.Lock()
	a, ok := v.answers[string(key)]
	v.mu.Unlock()
	if ok && now.Before(a.until) {
		return a, nil
	}
	out, err := v.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return answer{}, err
	}
	a = answer{allowed: out.Status.Allowed && !out.Status.Denied, reason: out.Status.Reason, until: now.Add(deniedFor)}
	if a.allowed {
		a.until = now.Add(allowedFor)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.answers) >= maxReviews {
		clear(v.answers)
	}
	v.answers[string(key)] = a
	return a, nil
}
