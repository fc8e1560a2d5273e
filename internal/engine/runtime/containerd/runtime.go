package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
	remote "k8s.io/cri-client/pkg"
)

// ErrAbsent says that a pod needs containerd and the machine has none that runs. The text is what the pod's event shows.
var ErrAbsent = errors.New("this pod needs a container runtime: install one with `apt-get install containerd runc containernetworking-plugins`, start it, or set runtimeClassName: process")

// ErrUnreachable says that containerd cannot be used because the platform runs in a network of its own.
var ErrUnreachable = errors.New("this pod needs a container runtime, and containerd cannot reach the platform's private network: run the platform as root without --private-network, or set runtimeClassName: process")

// callTimeout bounds each call to containerd, pulls and stops excepted; it is the kubelet's default.
const callTimeout = 2 * time.Minute

// dialTimeout bounds the first call, which proves that containerd answers.
const dialTimeout = 5 * time.Second

// Config says which containerd to use and for whom.
type Config struct {
	// Socket is the path of containerd's socket. Empty: the platform's network is private and containerd is no use.
	Socket string
	// Owner names this node among all that share the machine's containerd; it must be a label value.
	Owner string
	// CNI is the network configuration to provide where the machine has none. Its zero value provides none.
	CNI CNI
	// Visible tells whether containerd sees what this process sees at path. Nil: it always does.
	Visible func(path string) error
}

// Runtime is one node's view of containerd. It is safe for concurrent use.
type Runtime struct {
	config Config

	dialing sync.Mutex
	client  *Client

	mu     sync.Mutex
	listed bool
	owned  map[string]string
}

// New looks at nothing yet; see Client.
func New(config Config) *Runtime {
	return &Runtime{config: config, owned: map[string]string{}}
}

// Client connects at its first use. The error wraps ErrAbsent where there is no socket, and ErrUnreachable where none
// is configured.
func (r *Runtime) Client(ctx context.Context) (*Client, error) {
	r.dialing.Lock()
	defer r.dialing.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	if r.config.Socket == "" {
		return nil, ErrUnreachable
	}
	if _, err := os.Stat(r.config.Socket); err != nil {
		return nil, ErrAbsent
	}
	client, err := r.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("containerd at %q: %w", r.config.Socket, err)
	}
	r.client = client
	return client, nil
}

func (r *Runtime) dial(ctx context.Context) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	endpoint := "unix://" + r.config.Socket
	pods, err := remote.NewRemoteRuntimeService(ctx, endpoint, callTimeout, nil, false)
	if err != nil {
		return nil, err
	}
	images, err := remote.NewRemoteImageService(ctx, endpoint, callTimeout, nil, false)
	if err != nil {
		return nil, errors.Join(err, pods.Close(ctx))
	}
	if err := r.config.CNI.provide(ctx, pods); err != nil {
		return nil, errors.Join(err, pods.Close(ctx), images.Close(ctx))
	}
	return &Client{RuntimeService: pods, Images: images, runtime: r}, nil
}

// Active tells whether containerd may hold pods of this node, so that lists must ask it.
func (r *Runtime) Active() bool {
	r.mu.Lock()
	asked, some := r.listed, len(r.owned) > 0
	r.mu.Unlock()
	if asked || r.config.Socket == "" {
		return some
	}
	_, err := os.Stat(r.config.Socket)
	return some || err == nil
}

// Owns tells whether id is a sandbox or container that this node has in containerd.
func (r *Runtime) Owns(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.owned[id]
	return ok
}

// OwnsPod tells whether the pod with this uid has a sandbox or container in containerd.
func (r *Runtime) OwnsPod(uid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, owner := range r.owned {
		if owner == uid {
			return true
		}
	}
	return !r.listed
}

// Close ends the connection; pods go on.
func (r *Runtime) Close(ctx context.Context) error {
	r.dialing.Lock()
	defer r.dialing.Unlock()
	if r.client == nil {
		return nil
	}
	client := r.client
	r.client = nil
	return errors.Join(client.Close(ctx), client.Images.Close(ctx))
}

func (r *Runtime) remember(id, uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owned[id] = uid
}

func (r *Runtime) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.owned, id)
}

// answered records that containerd has told of all pods this node has there.
func (r *Runtime) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed = true
}

var _ internalapi.RuntimeService = (*Client)(nil)
