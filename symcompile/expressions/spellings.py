"""What stands in an ONNX file where ONNX, or ONNX Runtime for a type, lacks an operator.

Definitions over `a` and `b`, see `fold.compiled`, exact to a few roundings over the whole line and
without a value where the operator has none. ONNX Runtime's Where gives 0.0 for a -0.0 in its first
branch, whose sign has to stay: atan2(-0.0, -1) is -pi. What keeps it stands in the second.
"""

# pi/2 in three parts of 33 bits (fdlibm's pio2_1, pio2_2, pio2_2t): multiples of up to 2^20 are
# exact. The kernels' own reduction leaves no digit of a cosine next to its zero, but has no bound.
TAN = """turns = round(a / 1.5707963267948966)
left = a - turns * 1.57079632673412561417 - turns * 6.07710050630396597660e-11
left = where(0.0 < abs(turns), left - turns * 2.02226624879595063154e-21, a)
odd = turns - floor(turns / 2.0) * 2.0
near = where(0.5 < odd, -(cos(left) / sin(left)), sin(left) / cos(left))
where(1e6 < abs(a), sin(a) / cos(a), near)"""
# From the float32 kernel's y: atan(x) = y + atan((x - tan y) / (1 + x tan y)), whose argument d is
# below 1e-6: there atan(d) = d - d^3/3 to the last digit of float64. 1e300 is as good as infinity,
# which would give infinity / infinity. Subtracted, since -0.0 + 0.0 is 0.0.
ATAN = """x = max(min(a, 1e300), -1e300)
y = atan32(x)
d = (x * cos(y) - sin(y)) / (cos(y) + x * sin(y))
y - (d * d * d / 3.0 - d)"""
# By halves, since e^a overflows before cosh(a) = e^a / 2 does.
COSH = "root = exp(a * 0.5); 0.5 * root * root + 0.5 / root / root"
# (e^a - e^-a) / 2 would lose all digits near 0.
SINH = "tanh(a) * cosh(a)"
# At -1 the quotient is infinite and the result pi.
ACOS = "atan(sqrt((1.0 - a) / (1.0 + a))) * 2.0"
ASIN = "atan(a / (1.0 + sqrt((1.0 - a) * (1.0 + a)))) * 2.0"
ASINH = """u = abs(a)
near = log1p(u + u * u / (1.0 + sqrt(1.0 + u * u)))
size = where(u < 1e9, near, log(u) + 0.6931471805599453)
where(0.0 < u, sign(a) * size, a)"""
# The root of (a - 1) * (a + 1) would have a value below -1, where the whole has none.
ACOSH = """near = log1p(a - 1.0 + sqrt(a - 1.0) * sqrt(a + 1.0))
where(a < 1e9, near, log(a) + 0.6931471805599453)"""
ATANH = """u = abs(a)
where(0.0 < u, 0.5 * sign(a) * log1p(2.0 * u / (1.0 - u)), a)"""
# The rounding of 1 + a is taken out again (Kahan).
LOG1P = """u = 1.0 + a
d = u - 1.0
where(0.0 < abs(d), where(u == a, log(u), log(u) * a / d), a)"""
HYPOT = """large = max(abs(a), abs(b))
small = min(abs(a), abs(b))
ratio = where(small == large, 1.0, small / large)
large * sqrt(1.0 + ratio * ratio)"""
# Of a zero 1/a tells the sign, of an infinity a does.
ATAN2 = """right = atan(a / where(abs(a) + abs(b) == 0.0, 1.0, b))
turn = where(min(a, 1.0 / a) < 0.0, -3.141592653589793, 3.141592653589793)
where(min(b, 1.0 / b) < 0.0, turn + right, right)"""
MOD = "r = fmod(a, b); where(sign(r) * sign(b) < 0.0, r + b, r)"
