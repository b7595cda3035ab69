// Clients of the npm package mqtt, as browsers and Node-RED use it, through a web socket:
//   node web.mjs ws://HOST:PORT/PATH [USER PASSWORD CA-FILE]
// Prints a line for each case, `ok web.case` or `FAIL web.case: why`, as run.py does.

import { readFileSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import mqtt from 'mqtt'

const PATIENCE = 20_000
const [url, username, password, ca] = process.argv.slice(2)

const within = (what, promise) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`waited in vain: ${what}`)), PATIENCE).unref()),
  ])

// A connected client that remembers what it hears.
async function attach(options = {}) {
  const login = username ? { username, password } : {}
  const trust = ca ? { ca: readFileSync(ca) } : {}
  const client = await within('a connection', mqtt.connectAsync(url, { reconnectPeriod: 0, ...login, ...trust, ...options }, false))
  client.heard = []
  client.on('message', (topic, payload, packet) => client.heard.push({ topic, text: payload.toString(), packet }))
  client.hears = (count) =>
    within(`${count} messages, not ${client.heard.length}`, new Promise((resolve) => {
      const look = () => (client.heard.length >= count ? resolve(client.heard) : setTimeout(look, 5))
      look()
    }))
  return client
}

function expect(what, got, wanted) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${what}: ${a}, not ${b}`)
}

const cases = {
  async both_versions_publish_and_subscribe(topic) {
    for (const protocolVersion of [4, 5]) {
      const [a, b] = [await attach({ protocolVersion }), await attach({ protocolVersion })]
      await b.subscribeAsync(`${topic}/#`, { qos: 2 })
      for (const qos of [0, 1, 2]) await a.publishAsync(`${topic}/t`, `qos ${qos}`, { qos })
      const heard = (await b.hears(3)).map(({ text, packet }) => [text, packet.qos]).sort()
      expect('what arrives', heard, [['qos 0', 0], ['qos 1', 1], ['qos 2', 2]])
      await Promise.all([a.endAsync(), b.endAsync()])
    }
  },

  async payloads_of_every_size_pass(topic) {
    const client = await attach({ protocolVersion: 5 })
    await client.subscribeAsync(`${topic}/#`, { qos: 1 })
    // Around the lengths at which the frames of web sockets and the packets of MQTT get longer heads.
    const sizes = [0, 1, 90, 100, 125, 126, 127, 128, 16_383, 16_384, 65_535, 65_536, 200_000]
    for (const size of sizes) await client.publishAsync(`${topic}/t`, 'x'.repeat(size), { qos: 1 })
    expect('the sizes', (await client.hears(sizes.length)).map(({ text }) => text.length), sizes)
    await client.endAsync()
  },

  async properties_pass(topic) {
    const client = await attach({ protocolVersion: 5 })
    await client.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 5 } })
    const properties = {
      payloadFormatIndicator: true,
      responseTopic: 'back',
      correlationData: Buffer.from([0, 255]),
      userProperties: { k: ['v', 'w'] },
      contentType: 'text/plain',
    }
    await client.publishAsync(topic, 'x', { qos: 1, properties })
    const [{ packet }] = await client.hears(1)
    for (const name of Object.keys(properties)) expect(name, packet.properties[name], properties[name])
    expect('the subscription identifier', packet.properties.subscriptionIdentifier, 5)
    await client.endAsync()
  },

  async a_session_goes_on(topic) {
    const options = { clientId: `web-${randomUUID()}`, clean: false, protocolVersion: 4 }
    const first = await attach(options)
    await first.subscribeAsync(topic, { qos: 1 })
    await first.endAsync()
    const a = await attach()
    for (let index = 0; index < 20; index++) await a.publishAsync(topic, `${index}`, { qos: 1 })
    // What waits may come with the CONNACK, so it has to listen before it connects.
    const login = username ? { username, password } : {}
    const trust = ca ? { ca: readFileSync(ca) } : {}
    const again = mqtt.connect(url, { reconnectPeriod: 0, ...login, ...trust, ...options })
    const heard = []
    await within('what waited', new Promise((resolve) => {
      again.on('message', (_, payload) => heard.push(Number(payload)) === 20 && resolve())
    }))
    expect('what waited', heard, [...Array(20).keys()])
    await Promise.all([a.endAsync(), again.endAsync()])
  },

  async a_thousand_messages_arrive_in_order(topic) {
    const [a, b] = [await attach(), await attach()]
    await b.subscribeAsync(topic, { qos: 1 })
    await Promise.all(Array.from({ length: 1000 }, (_, index) => a.publishAsync(topic, `${index}`, { qos: 1 })))
    expect('the order', (await b.hears(1000)).map(({ text }) => Number(text)), [...Array(1000).keys()])
    await Promise.all([a.endAsync(), b.endAsync()])
  },
}

let failed = false
await Promise.all(Object.entries(cases).map(async ([name, run]) => {
  try {
    await run(`web-${randomUUID()}`)
    console.log(`ok web.${name}`)
  } catch (error) {
    failed = true
    console.log(`FAIL web.${name}: ${error.message}`)
  }
}))
process.exit(failed ? 1 : 0)
