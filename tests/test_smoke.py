def test_smoke(invoke, small):
    code, out, err = invoke("--image_path", small, "--weights", "bundled", "--size", 48, "--steps", 3)
    assert code == 0, err
    assert "PSNR" in out
