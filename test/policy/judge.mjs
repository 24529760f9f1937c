// Reads a list of {policy, action, resource, context} as JSON from standard input, and writes how
// IAM decides each of them: "Allowed", or "ImplicitlyDenied", or what is wrong with the question.
import { runSimulation } from '@cloud-copilot/iam-simulate'

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const verdicts = []
for (const { policy, action, resource, context } of JSON.parse(Buffer.concat(chunks))) {
  const response = await runSimulation(
    {
      identityPolicies: [{ name: 'bootagent', policy }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      request: {
        action,
        principal: 'arn:' + resource.partition + ':sts::123456789012:assumed-role/db/i-0123456789abcdef0',
        resource: { resource: resource.arn, accountId: '123456789012' },
        contextVariables: context,
      },
    },
    {},
  )
  verdicts.push(response.resultType === 'error' ? JSON.stringify(response.errors) : response.overallResult)
}
process.stdout.write(JSON.stringify(verdicts))
