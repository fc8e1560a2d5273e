package controlplane

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/util/compatibility"
	cliflag "k8s.io/component-base/cli/flag"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllermanageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// The components are configured through their own flags, so that what is set here reads as it does in any cluster.
// Their cobra commands are not used: each would install a signal handler, of which a process can have one.

// clientRate lifts the components' client-side rate limits (20 to 50 requests a second), which made 500 pods take
// 20 s to bind on an idle machine. The API server's own priority and fairness protects it.
var clientRate = []string{"--kube-api-qps=2000", "--kube-api-burst=4000"}

// parse gives a component's flags their values. An unknown flag is an error of this program.
func parse(sets map[string]*pflag.FlagSet, args []string) error {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, s := range sets {
		fs.AddFlagSet(s)
	}
	return fs.Parse(args)
}

// apiServer prepares the API server. The returned function serves until its context ends.
func apiServer(ctx context.Context, c *credentials, etcd string, network engine.Network, listener net.Listener) (func(context.Context) error, error) {
	opts := apiserveroptions.NewServerRunOptions()
	args := []string{
		"--etcd-servers=" + etcd,
		"--advertise-address=" + network.Host().String(),
		"--service-cluster-ip-range=" + network.Services.String(),
		"--tls-cert-file=" + c.serving.cert,
		"--tls-private-key-file=" + c.serving.key,
		"--client-ca-file=" + c.ca.certFile(),
		"--kubelet-certificate-authority=" + c.ca.certFile(),
		"--kubelet-client-certificate=" + c.kubelet.cert,
		"--kubelet-client-key=" + c.kubelet.key,
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file=" + c.proxyClient.cert,
		"--proxy-client-key-file=" + c.proxyClient.key,
		"--requestheader-client-ca-file=" + c.frontProxy.certFile(),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--enable-aggregator-routing=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.accountKey,
		"--service-account-signing-key-file=" + c.accountKey,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--profiling=false",
	}
	if err := parse(opts.Flags().FlagSets, args); err != nil {
		return nil, fmt.Errorf("configuring the API server: %w", err)
	}
	opts.SecureServing.Listener = listener
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("configuring the API server: %w", err)
	}
	completed, err := opts.Complete(ctx)
	if err != nil {
		return nil, fmt.Errorf("configuring the API server: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("configuring the API server: %w", utilerrors.NewAggregate(errs))
	}
	return func(ctx context.Context) error { return apiserver.Run(ctx, completed) }, nil
}

// controllersOff are the controllers that have nothing to do here: addresses are planned by engine.Network, and there
// is no cloud.
var controllersOff = []string{
	"node-ipam-controller", "node-route-controller", "cloud-node-lifecycle-controller", "service-lb-controller",
	"bootstrap-signer-controller", "token-cleaner-controller",
}

// controllerManager prepares kube-controller-manager. The returned function runs until its context ends.
func controllerManager(ctx context.Context, c *credentials, kubeconfig string, network engine.Network) (func(context.Context) error, error) {
	opts, err := controllermanageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("configuring the controller manager: %w", err)
	}
	all, off, aliases := controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases()
	args := append([]string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--controllers=*,-" + strings.Join(controllersOff, ",-"),
		"--service-account-private-key-file=" + c.accountKey,
		"--root-ca-file=" + c.ca.certFile(),
		"--cluster-signing-cert-file=" + c.ca.certFile(),
		"--cluster-signing-key-file=" + c.ca.keyFile(),
		"--service-cluster-ip-range=" + network.Services.String(),
		"--cluster-cidr=" + network.Pods.String(),
		// What the metrics APIs tell is a second old, so autoscalers look three times as often as upstream's do.
		"--horizontal-pod-autoscaler-sync-period=5s",
	}, clientRate...)
	sets := opts.Flags(all, off, aliases)
	if err := parse(sets.FlagSets, args); err != nil {
		return nil, fmt.Errorf("configuring the controller manager: %w", err)
	}
	opts.ParsedFlags = &sets
	config, err := opts.Config(ctx, all, off, aliases)
	if err != nil {
		return nil, fmt.Errorf("configuring the controller manager: %w", err)
	}
	completed := config.Complete()
	return func(ctx context.Context) error { return controllermanager.Run(ctx, completed) }, nil
}

// kubeScheduler prepares kube-scheduler. The returned function runs until its context ends.
func kubeScheduler(ctx context.Context, kubeconfig string) (func(context.Context) error, error) {
	opts := scheduleroptions.NewOptionsWithComponentGlobalsRegistry(compatibility.DefaultComponentGlobalsRegistry)
	args := append([]string{"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0"}, clientRate...)
	if err := parse(opts.Flags.FlagSets, args); err != nil {
		return nil, fmt.Errorf("configuring the scheduler: %w", err)
	}
	config, sched, err := scheduler.Setup(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("configuring the scheduler: %w", err)
	}
	return func(ctx context.Context) error { return scheduler.Run(ctx, config, sched) }, nil
}
