package traffic

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// credentials is a cache of what certificates can be in, and nothing else of it: Secrets of the type for TLS, and the
// authorities of ConfigMaps. The manager's own cache would hold every Secret of the cluster.
type credentials struct{ cache.Cache }

// GetCache makes the manager start it before the controllers that need it.
func (c credentials) GetCache() cache.Cache { return c.Cache }

func newCredentials(m ctrl.Manager) (cache.Cache, error) {
	c, err := cache.New(m.GetConfig(), cache.Options{
		HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {
				Field:     fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)),
				Transform: onlyCertificates,
			},
			&corev1.ConfigMap{}: {Transform: onlyCertificates},
		},
	})
	if err != nil {
		return nil, err
	}
	return c, m.Add(credentials{c})
}

// onlyCertificates drops from Secrets and ConfigMaps what is no certificate and no key.
func onlyCertificates(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Secret:
		o.ManagedFields, o.Annotations = nil, nil
		for key := range o.Data {
			if key != corev1.TLSCertKey && key != corev1.TLSPrivateKeyKey && key != keyCA {
				delete(o.Data, key)
			}
		}
	case *corev1.ConfigMap:
		o.ManagedFields, o.Annotations, o.BinaryData = nil, nil, nil
		for key := range o.Data {
			if key != keyCA {
				delete(o.Data, key)
			}
		}
	}
	return object, nil
}

// watchIn asks for a new table when a certificate or an authority changes.
func watchIn[T client.Object](c cache.Cache, object T, note func(client.Object)) source.TypedSource[tableRequest] {
	changed := predicate.TypedFuncs[T]{
		CreateFunc: func(e event.TypedCreateEvent[T]) bool { return len(content(e.Object)) > 0 },
		UpdateFunc: func(e event.TypedUpdateEvent[T]) bool {
			return !bytes.Equal(content(e.ObjectOld), content(e.ObjectNew))
		},
		DeleteFunc: func(e event.TypedDeleteEvent[T]) bool { return len(content(e.Object)) > 0 },
	}
	return source.TypedKind(c, object, handler.TypedEnqueueRequestsFromMapFunc(askFor[T](note)), changed)
}

// content is what certificates are made of.
func content(object client.Object) []byte {
	switch o := object.(type) {
	case *corev1.Secret:
		return bytes.Join([][]byte{o.Data[corev1.TLSCertKey], o.Data[corev1.TLSPrivateKeyKey], o.Data[keyCA]}, []byte{0})
	case *corev1.ConfigMap:
		return []byte(o.Data[keyCA])
	}
	return nil
}
