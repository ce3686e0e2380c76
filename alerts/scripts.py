"""What Redis does for a pair in one step (`alerts.pair`); times are the server's own, in milliseconds."""

WORDS_MAX = 20_000
"""Last words that are kept for an account; past it those that were said longest ago are forgotten."""

BEAT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local is_new = redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local out = {redis.call('ZCARD', KEYS[1]), is_new, ''}
local speaks = false
for i = 3, #KEYS, 3 do
  local at = 4 + (i - 3) / 3 * 5
  local lease = redis.call('HMGET', KEYS[i], 'holder', 'token', 'till')
  local holder, token = lease[1], tonumber(lease[2] or '0')
  local claim, waited = tonumber(ARGV[at]), ARGV[at + 1] == '1'
  local best, worst, yields = tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4] == '1'
  if worst == '' then
    redis.call('HDEL', KEYS[i + 2], ARGV[1])
  else
    redis.call('HSET', KEYS[i + 2], ARGV[1], worst .. ' ' .. now + ARGV[2])
  end
  if not holder and claim > 0 and not (waited and is_new == 1) then
    holder, token = ARGV[1], claim
  elseif holder and holder ~= ARGV[1] and tonumber(lease[3]) <= now then
    holder, token = ARGV[1], token + 1
  end
  local heir = ''
  if holder == ARGV[1] then
    local others = best and redis.call('HGETALL', KEYS[i + 2]) or {}
    for j = 1, #others, 2 do
      local standing, till = string.match(others[j + 1], '^(%d+) (%d+)$')
      if not standing or tonumber(till) <= now then
        redis.call('HDEL', KEYS[i + 2], others[j])
      elseif tonumber(standing) < best then
        heir, best = others[j], tonumber(standing)
      end
    end
    if yields and heir ~= '' then
      holder, token, heir = heir, token + 1, ''
    else
      speaks = true
    end
    redis.call('HSET', KEYS[i], 'holder', holder, 'token', token, 'till', now + ARGV[2])
  end
  local last = redis.call('ZREVRANGE', KEYS[i + 1], 0, 0, 'WITHSCORES')[2]
  out[#out + 1] = {holder or '', token, heir, tonumber(last or '0')}
end
if speaks then redis.call('SET', KEYS[2], ARGV[3], 'NX') end
out[3] = redis.call('GET', KEYS[2]) or ''
return out
"""
"""Renew our leases and take those that are over, or hand them over. KEYS: members, salt, then of each account its
lease, the order of its words, and the standings. ARGV: who asks, how long a lease lasts, its salt, then for each
account the token under which it takes a lease that is not there (0: it does not), whether it has waited for that, which
counts only if it is known here, its best and its worst standing of late (empty: unknown), and whether it hands the
lease to one that lives and at its worst stands better than this one at its best. Returns how many live, whether the one
that asks was not known, the salt (which only one that speaks sets), then of each account holder, token, to whom it
could be handed over (empty: nobody, or another one speaks) and the number of its newest word. A standing ends with the
lease that its monitor would have."""

NOTE = f"""
local lease = redis.call('HMGET', KEYS[1], 'holder', 'token')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return 0 end
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
local number = math.max(tonumber(last or '0'), tonumber(ARGV[3]))
for i = 4, #ARGV, 2 do
  number = number + 1
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[3], number, ARGV[i])
end
local excess = redis.call('ZCARD', KEYS[3]) - {WORDS_MAX}
if excess > 0 then
  redis.call('HDEL', KEYS[2], unpack(redis.call('ZRANGE', KEYS[3], 0, excess - 1)))
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, excess - 1)
end
return number
"""
"""Note words, each under a number of its own, greater than all before. KEYS: lease, words, their order. ARGV: who, with
which token, the newest number it knows of, then key and word in turn. Returns the last number given; 0 when the lease
is not (any more) that of this token."""

CHANGED = """
local order = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local keys, out = {}, {}
for i = 1, #order, 2 do keys[#keys + 1] = order[i] end
if #keys == 0 then return out end
local words = redis.call('HMGET', KEYS[1], unpack(keys))
for i = 1, #keys do out[i] = {tonumber(order[2 * i]), words[i] or ''} end
return out
"""
"""Words noted past a number, in order. KEYS: words, their order. ARGV: the number, how many at most."""

RELEASE = """
for i = 1, #KEYS, 2 do
  if redis.call('HGET', KEYS[i], 'holder') == ARGV[1] then redis.call('HSET', KEYS[i], 'till', 0) end
  redis.call('HDEL', KEYS[i + 1], ARGV[1])
end
return 1
"""
"""Leave: our leases are over, and nobody hands us one. KEYS: of each account its lease and the standings. ARGV: who."""

ORDER = """
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], t[1] .. ' ' .. ARGV[2])
return 1
"""

TAKE = """
local now = tonumber(redis.call('TIME')[1])
local wanted, out = {}, {}
for i = 2, #ARGV do wanted[ARGV[i]] = true end
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  local at, by = string.match(found[i + 1], '^(%d+) (.*)$')
  local good = at and tonumber(at) + ARGV[1] >= now
  if wanted[found[i]] or not good then redis.call('HDEL', KEYS[1], found[i]) end
  if wanted[found[i]] and good then
    out[#out + 1] = found[i]
    out[#out + 1] = by
  end
end
return out
"""
