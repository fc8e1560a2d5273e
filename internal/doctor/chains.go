package doctor

import (
	"encoding/json"
	"fmt"
	"strings"
)

// dropChains reads what `nft -j list chains` prints: the chains at the hook "forward" whose policy is to drop. The
// platform's own tables are not named: its filters let pods pass.
func dropChains(b []byte) []string {
	var list struct {
		Nftables []struct {
			Chain *struct {
				Family, Table, Name, Hook, Policy string
			}
		}
	}
	if json.Unmarshal(b, &list) != nil {
		return nil
	}
	var out []string
	for _, o := range list.Nftables {
		c := o.Chain
		if c == nil || c.Hook != "forward" || c.Policy != "drop" || strings.HasPrefix(c.Table, "escale") || c.Family == "ip6" {
			continue
		}
		out = append(out, fmt.Sprintf("chain %s of table %s %s", c.Name, c.Family, c.Table))
	}
	return sorted(out)
}
