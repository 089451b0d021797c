-- wrk's side of all benchmarks: one kind of request for one customer after another.
-- Arguments: the kind of request, the file with the customers' ids (one to a line), the path before the operation, the
-- line to begin with, how many milliseconds each connection waits before a request, how many activities are in a batch,
-- and how many customers in a block: these are un-enrolled, then enrolled again. Of the environment: AUTHORIZATION, and
-- RUN, which makes ids of activities that were never sent.

local CLOCK = "2031-01-15T12:00:00Z"

local ids, step, first, wait, size, in_block = {}, 0, 0, 0, 1, 1
-- Globals, because only these can be asked for when it is over.
refused, failed, example = 0, 0, ""

local function customer(number)
  return ids[(first + number) % #ids + 1]
end

local kinds = {
  -- Customers who are enrolled when it begins.
  enrolment = function(path)
    local block, place = math.floor(step / (2 * in_block)), step % (2 * in_block)
    local operation = place < in_block and "/unEnroll" or "/enroll"
    local id = customer(block * in_block + place % in_block)
    return wrk.format("POST", path .. operation, nil, '[{"customerId":' .. id .. '}]')
  end,
  activity = function()
    return wrk.format("POST", "/v1/activities", nil, string.format(
      '{"activities":[{"id":"%s-%d","customerId":%s,"type":"transaction","occurredAt":"%s"}]}',
      run, step, customer(step), CLOCK))
  end,
  batch = function()
    local items = {}
    for place = 1, size do
      local number = step * size + place
      items[place] = string.format(
        '{"id":"%s-%d","customerId":%s,"type":"transaction","occurredAt":"%s",'
          .. '"attributes":{"amount":%d.%02d,"billNumber":"B%d"}}',
        run, number, customer(number), CLOCK, number % 5, number % 100, number)
    end
    return wrk.format("POST", "/v1/activities", nil, '{"activities":[' .. table.concat(items, ",") .. "]}")
  end,
  target_groups = function()
    return wrk.format("GET", "/v3/users/" .. customer(step) .. "/targetGroups")
  end,
  rewards = function()
    return wrk.format("GET", "/v1/customers/" .. customer(step) .. "/rewards")
  end,
  facts = function()
    return wrk.format("GET", "/v1/customers/" .. customer(step) .. "/facts")
  end,
}

-- What the body of an answer holds if what was asked for was done.
local done_says = {
  enrolment = '"warnings":null',
  activity = '"status":"accepted"',
  batch = '"status":"accepted"',
  target_groups = '"targetGroups":[{',
  rewards = '"data":[',
  facts = '"data":[{',
}

function init(arguments)
  kind, path, run = arguments[1], arguments[3], os.getenv("RUN")
  for id in io.lines(arguments[2]) do
    ids[#ids + 1] = id
  end
  first, wait = tonumber(arguments[4]), tonumber(arguments[5])
  size, in_block = tonumber(arguments[6]), tonumber(arguments[7])
  wrk.headers["Authorization"] = os.getenv("AUTHORIZATION")
  wrk.headers["Content-Type"] = "application/json"
  if wait > 0 then
    -- Asked only where it is defined: an unpaced load spends no time on it.
    delay = function()
      -- From half to one and a half of it, or all connections would go on asking at the same moment.
      return math.floor(wait * (0.5 + math.random()))
    end
  end
end

-- Before it begins, wrk asks once to see what a request looks like, and does not send it.
local looked = false

function request()
  local made = kinds[kind](path)
  step = step + (looked and 1 or 0)
  looked = true
  return made
end

function response(status, headers, body)
  if status >= 500 then
    failed = failed + 1
  elseif status ~= 200 or not body:find(done_says[kind], 1, true) or body:find('"status":"rejected"', 1, true) then
    refused = refused + 1
    example = status .. " " .. body
  end
end

local thread

function setup(made)
  thread = made
end

function done(summary, latency, requests)
  if thread:get("refused") > 0 then
    io.stderr:write("refused, for example: " .. thread:get("example") .. "\n")
  end
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '{"requests":%d,"refused":%d,"failed":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f}\n',
    summary.requests, thread:get("refused"), thread:get("failed") + lost,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
