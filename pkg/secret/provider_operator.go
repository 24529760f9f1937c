package secret

import (
	"context"

	"bootagent/pkg/fault"
)

var operatorKind = providerKind{
	name: "operator", form: "operator",
	provider: func([]string, Run) Provider { return OperatorKeys{} },
}

// OperatorKeys is the provider operator: a person, who runs bootagent unlock.
type OperatorKeys struct{}

// Provide waits for a person: what they bring is added by bootagent unlock.
func (OperatorKeys) Provide(context.Context, *Keys) ([]string, error) {
	return nil, &fault.Pending{For: "the age identity (private key) for the secrets", Hint: "give it to the agent: bootagent unlock"}
}
