from tests.device.test_soak import *
async def test_try(device, tmp_path):
    seen = await soak(device, tmp_path, 130.0, period_s=5.0)
    print("SEEN", seen)
