package private

import (
	"fmt"
	"os"
	"strings"
)

// The kernel's settings that forbid namespaces to ordinary users. The first is Debian's, the second Ubuntu's.
const (
	settingClone    = "kernel.unprivileged_userns_clone"
	settingAppArmor = "kernel.apparmor_restrict_unprivileged_userns"
	settingMaximum  = "user.max_user_namespaces"
)

// blocking is the value with which a setting forbids what Exec does.
var blocking = []struct{ name, value, fix string }{
	{settingClone, "0", "1"},
	{settingAppArmor, "1", "0"},
	{settingMaximum, "0", "10000"},
}

// explain adds to the kernel's refusal the setting that causes it and what to do.
func explain(err error, settings map[string]string) error {
	for _, b := range blocking {
		if settings[b.name] == b.value {
			return fmt.Errorf("%w: the kernel forbids namespaces to ordinary users (%s=%s): run as root, or `sysctl -w %s=%s`", err, b.name, b.value, b.name, b.fix)
		}
	}
	return fmt.Errorf("%w: this machine forbids network namespaces, as some containers do: run as root on a machine of its own", err)
}

// readSettings reads those of the settings that this kernel has.
func readSettings() map[string]string {
	found := map[string]string{}
	for _, b := range blocking {
		value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(b.name, ".", "/"))
		if err == nil {
			found[b.name] = strings.TrimSpace(string(value))
		}
	}
	return found
}
