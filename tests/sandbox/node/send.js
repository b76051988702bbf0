// node send.js ENDPOINT: a call of each type and 300 more by @segment/analytics-node; prints what it calls a failure.
import { Analytics } from '@segment/analytics-node'

const failures = []
const library = new Analytics({ writeKey: 'a-key', host: process.argv[2], flushAt: 50, maxRetries: 0 })
library.on('error', (error) => failures.push(error.code))
for (let n = 0; n < 300; n++) {
  const text = n % 50 === 0 ? 'é'.repeat(3000) : 'x'
  library.track({ userId: `u${n}`, event: 'Order Completed', properties: { text, n } })
}
library.identify({ userId: 'u1', traits: { plan: 'pro' } })
library.page({ userId: 'u1', category: 'Shop', name: 'Home' })
library.screen({ userId: 'u1', category: 'App', name: 'Start' })
library.group({ userId: 'u1', groupId: 'g1', traits: { name: 'Acme' } })
library.alias({ previousId: 'a1', userId: 'u1' })
await library.closeAndFlush()
console.log(JSON.stringify(failures))
