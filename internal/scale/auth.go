package scale

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/trigger"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// credentials resolves TriggerAuthentications. Nothing it returns as an error holds a secret: errors name objects and keys.
type credentials struct {
	reader client.Reader
	kube   kubernetes.Interface
	// namespace holds the Secrets and ConfigMaps of ClusterTriggerAuthentications.
	namespace string
}

// resolved is what the triggers of an object are given.
type resolved struct {
	params   map[string]string
	identity trigger.Identity
	// renew is when a token must be made anew; zero: never.
	renew time.Duration
}

// tokenLife is how long a token of a service account is asked for; it is renewed after half of that.
const tokenLife = time.Hour

// resolve reads what a trigger's authenticationRef leads to. pod is the pod of the target, for its environment.
func (c credentials) resolve(ctx context.Context, ref *kedav1alpha1.AuthenticationRef, namespace string, pod *podEnv) (resolved, error) {
	out := resolved{params: map[string]string{}}
	if ref == nil || ref.Name == "" {
		return out, nil
	}
	spec, from, err := c.spec(ctx, ref, namespace)
	if err != nil {
		return out, err
	}
	about := fmt.Sprintf("%s %q", orKind(ref.Kind), ref.Name)
	if what := unsupported(spec, ref.Kind); what != "" {
		return out, fmt.Errorf("%s: %s", about, what)
	}
	out.identity = identity(spec.PodIdentity)
	for _, add := range []func(context.Context, *kedav1alpha1.TriggerAuthenticationSpec, string, *podEnv, *resolved) error{
		c.fromEnv, c.fromConfigMaps, c.fromSecrets, c.fromTokens, c.fromOAuth2,
	} {
		if err := add(ctx, spec, from, pod, &out); err != nil {
			return out, fmt.Errorf("%s: %w", about, err)
		}
	}
	return out, nil
}

func orKind(kind string) string {
	if kind == "" {
		return kindAuth
	}
	return kind
}

// spec reads the object and the namespace its references are in.
func (c credentials) spec(ctx context.Context, ref *kedav1alpha1.AuthenticationRef, namespace string) (*kedav1alpha1.TriggerAuthenticationSpec, string, error) {
	if orKind(ref.Kind) == kindClusterAuth {
		var a kedav1alpha1.ClusterTriggerAuthentication
		if err := c.reader.Get(ctx, client.ObjectKey{Name: ref.Name}, &a); err != nil {
			return nil, "", fmt.Errorf("reading ClusterTriggerAuthentication %q: %w", ref.Name, err)
		}
		return &a.Spec, c.namespace, nil
	}
	var a kedav1alpha1.TriggerAuthentication
	if err := c.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &a); err != nil {
		return nil, "", fmt.Errorf("reading TriggerAuthentication %q: %w", ref.Name, err)
	}
	return &a.Spec, namespace, nil
}

// unsupported names the first place of credentials that Escale does not read.
func unsupported(spec *kedav1alpha1.TriggerAuthenticationSpec, _ string) string {
	for name, given := range map[string]bool{
		"hashiCorpVault": spec.HashiCorpVault != nil, "azureKeyVault": spec.AzureKeyVault != nil,
		"gcpSecretManager": spec.GCPSecretManager != nil, "awsSecretManager": spec.AwsSecretManager != nil,
		"azureServicePrincipal": spec.AzureServicePrincipal != nil, "filePath": spec.FilePath != "",
	} {
		if given {
			return fmt.Sprintf("%q is not supported; put the values into a Secret and name it in secretTargetRef", name)
		}
	}
	return ""
}

func identity(p *kedav1alpha1.AuthPodIdentity) trigger.Identity {
	if p == nil {
		return trigger.Identity{}
	}
	return trigger.Identity{
		Provider: p.Provider, ID: text(p.IdentityID), TenantID: text(p.IdentityTenantID),
		AuthorityHost: text(p.IdentityAuthorityHost), RoleARN: text(p.RoleArn),
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (c credentials) fromEnv(ctx context.Context, spec *kedav1alpha1.TriggerAuthenticationSpec, _ string, pod *podEnv, out *resolved) error {
	for _, e := range spec.Env {
		env, err := pod.of(ctx, e.ContainerName)
		if err != nil {
			return err
		}
		out.params[e.Parameter] = env[e.Name]
	}
	return nil
}

func (c credentials) fromConfigMaps(ctx context.Context, spec *kedav1alpha1.TriggerAuthenticationSpec, namespace string, _ *podEnv, out *resolved) error {
	for _, ref := range spec.ConfigMapTargetRef {
		var m corev1.ConfigMap
		if err := c.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &m); err != nil {
			return fmt.Errorf("reading ConfigMap %q: %w", ref.Name, err)
		}
		value, ok := m.Data[ref.Key]
		if !ok {
			return fmt.Errorf("ConfigMap %q has no key %q", ref.Name, ref.Key)
		}
		out.params[ref.Parameter] = value
	}
	return nil
}

func (c credentials) fromSecrets(ctx context.Context, spec *kedav1alpha1.TriggerAuthenticationSpec, namespace string, _ *podEnv, out *resolved) error {
	for _, ref := range spec.SecretTargetRef {
		value, err := c.secret(ctx, namespace, ref.Name, ref.Key)
		if err != nil {
			return err
		}
		out.params[ref.Parameter] = value
	}
	return nil
}

func (c credentials) secret(ctx context.Context, namespace, name, key string) (string, error) {
	var s corev1.Secret
	if err := c.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s); err != nil {
		return "", fmt.Errorf("reading Secret %q: %w", name, err)
	}
	value, ok := s.Data[key]
	if !ok {
		return "", fmt.Errorf("Secret %q has no key %q", name, key)
	}
	return string(value), nil
}

func (c credentials) fromTokens(ctx context.Context, spec *kedav1alpha1.TriggerAuthenticationSpec, namespace string, _ *podEnv, out *resolved) error {
	for _, t := range spec.BoundServiceAccountToken {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenLife.Seconds()))}}
		got, err := c.kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, t.ServiceAccountName, request, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("making a token of ServiceAccount %q: %w", t.ServiceAccountName, err)
		}
		out.params[t.Parameter] = got.Status.Token
		out.renew = tokenLife / 2
	}
	return nil
}

// fromOAuth2 gives the parameters under the names KEDA's triggers read.
func (c credentials) fromOAuth2(ctx context.Context, spec *kedav1alpha1.TriggerAuthenticationSpec, namespace string, _ *podEnv, out *resolved) error {
	o := spec.OAuth2
	if o == nil {
		return nil
	}
	ref := o.ClientSecret.ValueFrom.SecretKeyRef
	secret, err := c.secret(ctx, namespace, ref.Name, ref.Key)
	if err != nil {
		return err
	}
	out.params["oauthTokenURI"], out.params["clientID"], out.params["clientSecret"] = o.TokenURL, o.ClientID, secret
	if len(o.Scopes) > 0 {
		out.params["scopes"] = strings.Join(o.Scopes, ",")
	}
	if len(o.TokenURLParams) > 0 {
		v := url.Values{}
		for name, value := range o.TokenURLParams {
			v.Add(name, value)
		}
		out.params["endpointParams"] = v.Encode()
	}
	return nil
}

// podEnv resolves the environment of the target's containers, when somebody asks.
type podEnv struct {
	reader    client.Reader
	namespace string
	spec      *corev1.PodSpec
	// container is the one whose environment counts where none is named; empty: the first.
	container string
	seen      map[string]map[string]string
}

// of is the environment of a container; of the default one without a name.
func (p *podEnv) of(ctx context.Context, container string) (map[string]string, error) {
	if p == nil || p.spec == nil {
		return nil, fmt.Errorf("the target has no containers to read the environment of")
	}
	if container == "" {
		container = p.container
	}
	if env, ok := p.seen[container]; ok {
		return env, nil
	}
	for i := range p.spec.Containers {
		if c := &p.spec.Containers[i]; container == "" || c.Name == container {
			env, err := p.read(ctx, c)
			if p.seen == nil {
				p.seen = map[string]map[string]string{}
			}
			p.seen[container] = env
			return env, err
		}
	}
	return nil, fmt.Errorf("the target has no container %q", container)
}

func (p *podEnv) read(ctx context.Context, c *corev1.Container) (map[string]string, error) {
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		if err := p.readFrom(ctx, from, env); err != nil {
			return nil, err
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = expand(e.Value, env)
			continue
		}
		value, ok, err := p.readRef(ctx, e.ValueFrom)
		if err != nil {
			return nil, fmt.Errorf("environment variable %q: %w", e.Name, err)
		}
		if ok {
			env[e.Name] = value
		}
	}
	return env, nil
}

func (p *podEnv) readFrom(ctx context.Context, from corev1.EnvFromSource, env map[string]string) error {
	switch {
	case from.SecretRef != nil:
		var s corev1.Secret
		err := p.reader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: from.SecretRef.Name}, &s)
		if err != nil && !optional(from.SecretRef.Optional, err) {
			return fmt.Errorf("reading Secret %q: %w", from.SecretRef.Name, err)
		}
		for k, v := range s.Data {
			env[from.Prefix+k] = string(v)
		}
	case from.ConfigMapRef != nil:
		var m corev1.ConfigMap
		err := p.reader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: from.ConfigMapRef.Name}, &m)
		if err != nil && !optional(from.ConfigMapRef.Optional, err) {
			return fmt.Errorf("reading ConfigMap %q: %w", from.ConfigMapRef.Name, err)
		}
		for k, v := range m.Data {
			env[from.Prefix+k] = v
		}
	}
	return nil
}

// readRef reads a value from a Secret or ConfigMap; false for what is only known inside a pod.
func (p *podEnv) readRef(ctx context.Context, ref *corev1.EnvVarSource) (string, bool, error) {
	switch {
	case ref.SecretKeyRef != nil:
		var s corev1.Secret
		err := p.reader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: ref.SecretKeyRef.Name}, &s)
		if err != nil && !optional(ref.SecretKeyRef.Optional, err) {
			return "", false, fmt.Errorf("reading Secret %q: %w", ref.SecretKeyRef.Name, err)
		}
		value, ok := s.Data[ref.SecretKeyRef.Key]
		return string(value), ok, nil
	case ref.ConfigMapKeyRef != nil:
		var m corev1.ConfigMap
		err := p.reader.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: ref.ConfigMapKeyRef.Name}, &m)
		if err != nil && !optional(ref.ConfigMapKeyRef.Optional, err) {
			return "", false, fmt.Errorf("reading ConfigMap %q: %w", ref.ConfigMapKeyRef.Name, err)
		}
		value, ok := m.Data[ref.ConfigMapKeyRef.Key]
		return value, ok, nil
	}
	return "", false, nil
}

func optional(is *bool, err error) bool { return is != nil && *is && client.IgnoreNotFound(err) == nil }

// expand puts variables that were defined before into a value, as the kubelet does with "$(NAME)".
func expand(value string, env map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(value, "$(")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(after, ")")
		if !closed {
			b.WriteString("$(" + after)
			return b.String()
		}
		if v, ok := env[name]; ok {
			b.WriteString(v)
		} else {
			b.WriteString("$(" + name + ")")
		}
		value = rest
	}
}
