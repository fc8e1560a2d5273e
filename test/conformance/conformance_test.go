package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/apis/v1alpha2"
	"sigs.k8s.io/gateway-api/apis/v1alpha3"
	"sigs.k8s.io/gateway-api/apis/v1beta1"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	conformancekubernetes "sigs.k8s.io/gateway-api/conformance/utils/kubernetes"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

const (
	// runVariable, set in the environment, is what it takes to run the suite.
	runVariable = "ESCALE_CONFORMANCE"
	// insideVariable tells the process that it has a network of its own.
	insideVariable = "ESCALE_CONFORMANCE_INSIDE"
	// reportVariable names the file the suite's ConformanceReport is written to.
	reportVariable = "ESCALE_CONFORMANCE_REPORT"
)

var profiles = []suite.ConformanceProfileName{
	suite.GatewayHTTPConformanceProfileName,
	suite.GatewayGRPCConformanceProfileName,
	suite.GatewayTLSConformanceProfileName,
}

// The addresses that the tests of static addresses ask for: one the platform can give a Gateway, and one it cannot.
const (
	usableAddress   = "10.42.3.200"
	unusableAddress = "198.51.100.7"
)

func TestMain(m *testing.M) {
	if os.Getenv(runVariable) == "" || os.Getenv(insideVariable) != "" {
		os.Exit(m.Run())
	}
	code, err := runInside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// runInside runs this program again, in a network namespace of its own.
func runInside() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("running the suite in a network of its own, which needs root: %w", err)
	}
	return 0, nil
}

func TestConformance(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skipf("takes minutes: run `make conformance`, or set %s=1", runVariable)
	}
	startLoopback(t)
	state := startPlatform(t)
	image := pushEcho(t, state.Registry)
	o := options(t, state.Kubeconfig, image, state.Version)
	// The suite reads the features to test from the status, once.
	conformancekubernetes.GWCMustHaveAcceptedConditionTrue(t, o.Client, o.TimeoutConfig, o.GatewayClassName)
	run, err := suite.NewConformanceTestSuite(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { report(t, run) })
	run.Setup(t, tests.ConformanceTests)
	if err := run.Run(t, tests.ConformanceTests); err != nil {
		t.Fatal(err)
	}
}

func startLoopback(t *testing.T) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("starting the loopback interface: %v", err)
	}
}

func options(t *testing.T, kubeconfig, image, version string) suite.ConformanceOptions {
	t.Helper()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 1000, 2000
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientscheme.AddToScheme, apiextensions.AddToScheme,
		gatewayv1.Install, v1alpha2.Install, v1alpha3.Install, v1beta1.Install,
	} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	clientOptions := client.Options{Scheme: known}
	c, err := client.New(cfg, clientOptions)
	if err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	files, err := manifests(image)
	if err != nil {
		t.Fatal(err)
	}
	ip := gatewayv1.IPAddressType
	return suite.ConformanceOptions{
		Client: c, ClientOptions: clientOptions, Clientset: clientset, RestConfig: cfg, ManifestFS: []fs.FS{files},
		ConfigurableOptions: suite.ConfigurableOptions{
			GatewayClassName: "escale", ConformanceProfiles: profiles, CleanupTestResources: true,
			TimeoutConfig:            config.DefaultTimeoutConfig(),
			UsableNetworkAddresses:   []gatewayv1.GatewaySpecAddress{{Type: &ip, Value: usableAddress}},
			UnusableNetworkAddresses: []gatewayv1.GatewaySpecAddress{{Type: &ip, Value: unusableAddress}},
			Implementation: confv1.Implementation{
				Organization: "escale-dev", Project: "escale", URL: "https://github.com/escale-dev/escale",
				Version: version, Contact: []string{"https://github.com/escale-dev/escale/issues"},
			},
		},
	}
}

// report prints a line for each profile and writes the suite's report to the file asked for.
func report(t *testing.T, run *suite.ConformanceTestSuite) {
	r, err := run.Report()
	if err != nil {
		t.Error(err)
		return
	}
	slices.SortFunc(r.ProfileReports, func(a, b confv1.ProfileReport) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range r.ProfileReports {
		extended := confv1.ExtendedStatus{}
		if p.Extended != nil {
			extended = *p.Extended
		}
		fmt.Printf("RESULT profile=%s core_passed=%d core_failed=%d core_skipped=%d extended_passed=%d extended_failed=%d extended_skipped=%d features=%d\n",
			p.Name, p.Core.Passed, p.Core.Failed, p.Core.Skipped,
			extended.Passed, extended.Failed, extended.Skipped, len(extended.SupportedFeatures))
		for _, list := range [][]string{p.Core.FailedTests, extended.FailedTests} {
			for _, name := range list {
				fmt.Printf("failed: %s %s\n", p.Name, name)
			}
		}
	}
	path := os.Getenv(reportVariable)
	if path == "" {
		return
	}
	content, err := yaml.Marshal(r)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Errorf("writing the report: %v", err)
	}
}
